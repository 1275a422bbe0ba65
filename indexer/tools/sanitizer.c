/*
 * Defaults of the sanitizers for the nginx of "make asan", linked into it by
 * the Makefile.  Every dynamic module of nginx has its own ngx_modules[], by
 * design, which AddressSanitizer takes for a violation; nginx leaves the memory
 * of its configuration to the kernel.  ASAN_OPTIONS in the environment overrides
 * each of them.
 */
const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *
__asan_default_options(void)
{
    return "detect_odr_violation=0:detect_leaks=0";
}

const char *
__ubsan_default_options(void)
{
    return "print_stacktrace=1";
}
