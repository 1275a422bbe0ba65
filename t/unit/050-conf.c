/*
 * conf.h: defaults, file, options, and the sentence for each mistake.
 */
#include "conf.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/exi_err.h"
#include "tap.h"

#define ARGS_MAX 16

static char dir[] = "/tmp/exi-conf-XXXXXX";
static char file[64];
static char why[1024];
static struct conf conf;
static enum conf_action action;

static void
write_file(const char *name, const char *text)
{
    FILE *f = fopen(name, "we");

    if (f != NULL) {
        fputs(text, f);
        fclose(f);
    }
}

/* Arguments by blanks, "@" = the file. */
static int
load(const char *args)
{
    char copy[512], *save = NULL, *argv[ARGS_MAX] = { copy };
    int argc = 1;

    snprintf(copy, sizeof(copy), "%s", args);
    for (char *p = strtok_r(copy, " ", &save); p != NULL && argc < ARGS_MAX;
         p = strtok_r(NULL, " ", &save)) {
        argv[argc++] = strcmp(p, "@") == 0 ? file : p;
    }
    conf_free(&conf);
    why[0] = '\0';
    return conf_load(&conf, &action, argc, argv, why, sizeof(why));
}

static void
test_defaults(void)
{
    is_int(load("--data-dir /d"), EXI_OK, "data_dir is enough");
    is_int(action, CONF_RUN, "action");
    is_str(conf.network, "mainnet", "network");
    is_str(conf.data_dir, "/d", "data_dir");
    is_str(conf.daemon_url, "http://127.0.0.1:8332", "daemon_url");
    is_str(conf.daemon_cookie, NULL, "daemon_cookie");
    is_str(conf.blocks_dir, NULL, "blocks_dir");
    is_str(conf.log_level, "info", "log_level");
    is_str(conf.socket_mode, "0660", "socket_mode");
    is_str(conf.passthrough, "read", "passthrough");
    is_int(conf.live_window, 100, "live_window");
    is_int(conf.settle_batch, 10, "settle_batch");
    is_int(conf.memory_mb, 2048, "memory_mb");
    is_int(conf.live_map_mb, 16384, "live_map_mb");
    is_int(conf.poll_ms, 500, "poll_ms");
    is_int(conf.daemon_timeout_ms, 30000, "daemon_timeout_ms");
    is_int(conf.keep_generations, 2, "keep_generations");
    ok(!conf.spender, "spender");
    ok(conf.progress, "progress");
    is_int(load("--data-dir /d --network litecoin-testnet"), EXI_OK,
           "litecoin");
    is_str(conf.daemon_url, "http://127.0.0.1:19332", "its port");
}

static void
test_file(void)
{
    write_file(file, "# a comment\n"
                     "\n"
                     "  network=regtest\n"
                     "data_dir =  /a b/c  \r\n"
                     "daemon_url = http://u:p#w@h:1, http://h:2\n"
                     "live-window = 20\n"
                     "live_window = 30\n"
                     "spender = on\n"
                     "progress=no");
    is_int(load("-c @"), EXI_OK, "file: %s", why);
    is_str(conf.network, "regtest", "no blanks around =");
    is_str(conf.data_dir, "/a b/c", "blanks inside, CR at the end");
    is_str(conf.daemon_url, "http://u:p#w@h:1, http://h:2", "no comment in it");
    is_int(conf.live_window, 30, "the last counts; - is _");
    ok(conf.spender, "on");
    ok(!conf.progress, "no newline at the end");

    is_int(load("--live-window 40 -c @ --spender=off --progress"), EXI_OK,
           "options with a file");
    is_int(conf.live_window, 40, "an option wins, also before -c");
    ok(!conf.spender, "--spender=off");
    ok(conf.progress, "--progress alone is on");
    is_int(load("-c @ --progress off --poll_ms=99"), EXI_OK, "more forms");
    ok(!conf.progress, "--progress off");
    is_int(conf.poll_ms, 99, "--poll_ms=99");
}

static void
test_two_files(void)
{
    char second[80], args[128];

    snprintf(second, sizeof(second), "%s/second", dir);
    write_file(file, "data_dir = /one\nlive_window = 20\n");
    write_file(second, "data_dir = /two\n");
    snprintf(args, sizeof(args), "--config=@ -c %s", second);
    is_int(load(args), EXI_EAPI, "--config=FILE takes the name as it is");
    snprintf(args, sizeof(args), "-c @ --config %s", second);
    is_int(load(args), EXI_OK, "two files");
    is_str(conf.data_dir, "/two", "the later counts");
    is_int(conf.live_window, 20, "the earlier, too");
    unlink(second);
}

static void
test_actions(void)
{
    is_int(load("--help"), EXI_OK, "--help needs nothing");
    is_int(action, CONF_HELP, "--help");
    is_int(load("-h"), EXI_OK, "-h");
    is_int(action, CONF_HELP, "-h");
    is_int(load("-V"), EXI_OK, "-V");
    is_int(action, CONF_VERSION, "-V");
    is_int(load("--version"), EXI_OK, "--version");
    is_int(action, CONF_VERSION, "--version");
}

/* The whole sentence; "@" in want is the file. */
static void
refused(const char *args, const char *want)
{
    char full[1024];
    const char *at = strchr(want, '@');

    snprintf(full, sizeof(full), "%.*s%s%s",
             at != NULL ? (int) (at - want) : (int) strlen(want), want,
             at != NULL ? file : "", at != NULL ? at + 1 : "");
    is_int(load(args), EXI_EAPI, "refused: %s", args);
    is_str(why, full, "sentence for %s", args);
}

static void
test_bad_options(void)
{
    refused("", "data_dir is not set: --data-dir DIR, or \"data_dir = DIR\" in "
                "a file given with -c");
    refused("--nothing 1",
            "option --nothing: there is no such option (--help lists all)");
    refused("stray", "what is \"stray\" for? Settings are given as "
                     "--name value");
    refused("-x", "what is \"-x\" for? Settings are given as --name value");
    refused("-c", "option -c needs the name of a file");
    refused("--data-dir", "option --data-dir: data_dir has no value");
    refused("--data-dir=", "option --data-dir: data_dir has no value");
    refused("--live-window 9",
            "option --live-window: live_window must be between 10 and 500, "
            "not 9");
    refused("--live-window 501",
            "option --live-window: live_window must be between 10 and 500, "
            "not 501");
    refused("--poll-ms 99999999999999999999",
            "option --poll-ms: poll_ms must be between 50 and 60000, "
            "not 99999999999999999999");
    refused("--poll-ms 5s",
            "option --poll-ms: poll_ms is not a whole number: \"5s\"");
    refused("--spender=maybe",
            "option --spender: spender must be on or off, not \"maybe\"");
    refused("--spender maybe", "what is \"maybe\" for? Settings are given as "
                               "--name value");
    refused("--log-level loud", "option --log-level: log_level must be error, "
                                "warn, info or debug, not \"loud\"");
    refused("--socket-mode 0888",
            "option --socket-mode: socket_mode must be octal permission bits "
            "such as 0660, not \"0888\"");
    refused("--socket-mode 7777",
            "option --socket-mode: socket_mode must be octal permission bits "
            "such as 0660, not \"7777\"");
    refused("--network mainet",
            "option --network: network \"mainet\" is not known; one of "
            "mainnet, testnet, testnet4, signet, regtest, litecoin, "
            "litecoin-testnet, litecoin-regtest");
}

static void
test_bad_files(void)
{
    char line[5000];

    write_file(file, "\nlive_window 5\n");
    refused("-c @", "@:2: a line must be \"name = value\"");
    write_file(file, "nothing = 5\n");
    refused("-c @", "@:1: there is no setting \"nothing\" (--help lists all)");
    write_file(file, "#\n#\nmemory_mb = 1\n");
    refused("-c @", "@:3: memory_mb must be between 128 and 1048576, not 1");
    write_file(file, "data_dir =  \n");
    refused("-c @", "@:1: data_dir has no value");
    memset(line, 'x', sizeof(line) - 1);
    line[sizeof(line) - 1] = '\0';
    write_file(file, line);
    refused("-c @", "@:1: line is longer than 4094 bytes");
    unlink(file);
    refused("-c @", "cannot read @: No such file or directory");
    refused("-c /", "cannot read /: Is a directory");
}

static void
test_help(void)
{
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);

    conf_help(f);
    fclose(f);
    ok(strstr(text, "--live_window") != NULL, "names a setting");
    ok(strstr(text, "(100; 10 ... 500)") != NULL, "with default and bounds");
    ok(strstr(text, "(0660)") != NULL, "and a default that is text");
    free(text);
}

int
main(void)
{
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    snprintf(file, sizeof(file), "%s/conf", dir);
    subtest("defaults", test_defaults);
    subtest("file", test_file);
    subtest("two files", test_two_files);
    subtest("actions", test_actions);
    subtest("bad options", test_bad_options);
    subtest("bad files", test_bad_files);
    subtest("help", test_help);
    conf_free(&conf);
    unlink(file);
    rmdir(dir);
    return done_testing();
}
