/* Version of the whole project: indexer, module and tools. */
#ifndef EXI_VERSION_H
#define EXI_VERSION_H

#define EXI_VERSION "0.1.0"

#endif /* EXI_VERSION_H */
