#!/usr/bin/perl

# The configuration of the module: what is accepted, what is refused and with
# which message; and that nginx starts and serves errors when there is no
# index yet.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Proc;

my $t = ElectrumX::Test->new(needs => [qw(nginx openssl tls)]);
my $load = join '', map {"load_module $_;\n"} grep {$_}
    ElectrumX::Test::stream_module(), ElectrumX::Test::module_path();
my $data = $t->path('nothing-here');
my $tmp = join ' ', map { "${_}_temp_path " . $t->path('nginx-tmp') . ';' }
    qw(client_body proxy fastcgi uwsgi scgi);

subtest 'accepted' => \&accepted;
subtest 'blocks that are refused' => \&bad_blocks;
subtest 'values that are refused' => \&bad_values;
subtest 'report_host' => \&report_host;
subtest 'addresses' => \&addresses;
subtest 'stale_after' => \&stale_after;
subtest 'passes that are refused' => \&bad_passes;
subtest 'stream must be loaded first' => \&without_stream;
subtest 'locations' => \&locations;
subtest 'without an index' => \&no_index;
$t->done;

# ---- nginx -t ----------------------------------------------------------------

# Output of "nginx -t" and whether it accepts the configuration.
sub check {
    my ($conf, %o) = @_;
    $t->write_file('test.conf', ($o{load} // $load) . "events { }\n"
            . 'pid ' . $t->path('test.pid') . ";\n$conf\n");
    my ($out, $status) = ElectrumX::Proc->run(
        timeout => 20, env => { $t->san_env },
        cmd => [ElectrumX::Test::nginx_program(), '-t', '-p', $t->dir, '-e',
            $t->path('test.log'), '-c', $t->path('test.conf')]);
    return ($out, $status == 0);
}

sub good {
    my ($name, $conf) = @_;
    my ($out, $ok) = check($conf);
    ok($ok, $name) or diag($out);
}

sub bad {
    my ($name, $conf, $message, %o) = @_;
    my ($out, $ok) = check($conf, %o);
    ok(!$ok, "$name: refused");
    like($out, $message, "$name: says why");
}

# A block with these directives, and "data".
sub block { return "electrumx main { data $data; @_ }" }

sub stream { return "stream { server { listen 127.0.0.1:1; @_ } }" }

sub http {
    return "http { access_log off; $tmp server { listen 127.0.0.1:1; @_ } }";
}

sub accepted {
    good('threads off', block('threads off;'));
    good('a thread pool', 'thread_pool disk threads=2; '
        . block('threads disk;'));
    good('a block alone', block());
    good('a relative path', 'electrumx main { data some/where; }');
    good('all directives', block(<<'EOT'));
        max_request 256k;
        max_response 4m;
        max_batch 10;
        max_subs 500;
        max_calls 4;
        max_queue 64k;
        idle_timeout 10m;
        send_timeout 30s;
        banner banner.txt;
        tor_banner tor.txt;
        tor_from 127.0.0.1 10.0.0.0/8;
        tor_from ::1 unix:;
        electrumx_passthrough 192.0.2.1 2001:db8::/32 unix:;
        electrumx_strict on;
        stale_after 2h;
        donation bc1qxy2kgdygjrsqtzq2n0yrf2493p83kkfjhx0wlh;
        report_host tcp://h.example:50001 ssl://h.example:50002;
        report_host wss://h.example:443;
EOT
    my $pass = stream('electrumx_pass main;');
    good('stream before the block', $pass . block());
    good('stream behind the block', block() . $pass);
    good('http before the block',
        http('location / { electrumx_pass main; }') . block());
    good('two networks', block() . ' electrumx other { data /other; } '
            . 'stream { server { listen 127.0.0.1:1; electrumx_pass main; } '
            . 'server { listen 127.0.0.1:2; electrumx_pass other; } }');
    good('http and stream', block() . $pass
            . http('location / { electrumx_pass main; } '
                . 'location = /s { electrumx_status main; }'));
    $t->write_file('more.conf', "max_batch 7;\n");
    good('include in a block', block('include ' . $t->path('more.conf') . ';'));
    good('a name in quotes', 'electrumx "my net" { data /d; } '
            . stream('electrumx_pass "my net";'));
}

sub bad_blocks {
    bad('no data', 'electrumx main { }',
        qr/electrumx "main" has no "data" directive in .*test\.conf:\d+/);
    bad('no name', "electrumx { data $data; }",
        qr/invalid number of arguments in "electrumx"/);
    bad('an empty name', "electrumx '' { data $data; }",
        qr/electrumx has no name/);
    bad('two names', "electrumx a b { data $data; }",
        qr/invalid number of arguments in "electrumx"/);
    bad('no block', 'electrumx main;', qr/"electrumx" has no opening "\{"/);
    bad('the same name twice', block() . ' electrumx main { data /other; }',
        qr/duplicate electrumx "main"/);
    bad('the same directory twice',
        block() . " electrumx other { data $data/; }",
        qr/electrumx "other" has the same data directory as "main"/);
    bad('an unknown directive', block('max_fun 3;'),
        qr/unknown directive "max_fun"/);
    bad('a directive of another block', block('worker_processes 1;'),
        qr/"worker_processes" directive is not allowed here/);
    bad('a directive outside of its block', "data $data;",
        qr/"data" directive is not allowed here/);
    bad('a block in a block', block("electrumx x { data /x; }"),
        qr/"electrumx" directive is not allowed here/);
    bad('a block in http', 'http { ' . block() . ' }',
        qr/"electrumx" directive is not allowed here/);
    bad('an unfinished block', "electrumx main { data $data;",
        qr/unexpected end of file, expecting "\}"/);
    bad('data without a path', 'electrumx main { data; }',
        qr/invalid number of arguments in "data"/);
    bad('data with an empty path', "electrumx main { data ''; }",
        qr/"data" directive has no path/);
}

sub bad_values {
    my %twice = (data => '/a', max_request => '1m', max_response => '1m',
        max_batch => 1, max_subs => 1, max_calls => 1, max_queue => '1m',
        idle_timeout => '1s', send_timeout => '1s', banner => '/b',
        donation => 'x', threads => 'off');
    for my $name (sort keys %twice) {
        my $one = "$name $twice{$name}; ";
        bad("$name twice", block($name eq 'data' ? $one : $one . $one),
            qr/"$name" directive is duplicate/);
    }
    bad('a thread pool that there is not', block('threads nosuch;'),
        qr/unknown thread pool "nosuch" in /);
    for my $size (qw(max_request max_response max_queue)) {
        bad("$size in words", block("$size large;"),
            qr/"$size" directive invalid value/);
        bad("$size too small", block("$size 10;"),
            qr/value must be between \d+ and \d+ in /);
        bad("$size too large", block("$size 100g;"),
            qr/value must be between|invalid value/);
    }
    for my $number (qw(max_batch max_subs max_calls)) {
        bad("$number in words", block("$number many;"),
            qr/"$number" directive invalid number/);
        bad("no $number", block("$number 0;"),
            qr/value must be (?:equal to or greater|between)/);
        bad("negative $number", block("$number -1;"), qr/invalid number/);
    }
    for my $time (qw(idle_timeout send_timeout)) {
        bad("$time in words", block("$time long;"),
            qr/"$time" directive invalid value/);
        bad("$time of nothing", block("$time 0;"),
            qr/time must be between 1ms and 24h/);
        bad("$time too long", block("$time 2d;"),
            qr/time must be between 1ms and 24h/);
    }
}

sub stale_after {
    good('stale_after off', block('stale_after off;'));
    good('stale_after without an end', block('stale_after 3650d;'));
    bad("stale_after $_", block("stale_after $_;"),
        qr/must be a time in seconds or more, or "off"/)
        for qw(0 never 500ms -1 on);
    bad('stale_after twice', block('stale_after 1d; stale_after off;'),
        qr/"stale_after" directive is duplicate/);
}

sub addresses {
    for my $d (qw(tor_from electrumx_passthrough)) {
        for my $a ('localhost', '1.2.3', '1.2.3.4/33', '::1/129', 'all',
            "''", 'unix')
        {
            bad("$d $a", block("$d $a;"), qr/is no address or network in/);
        }
        bad("$d: one of two", block("$d ::1 x;"),
            qr/"x" is no address or network/);
        bad("$d: none", block("$d;"),
            qr/invalid number of arguments in "$d"/);
        my ($out, $ok) = check(block("$d 10.0.0.1/8;"));
        ok($ok, "$d: more bits than the network has");
        like($out, qr/low address bits of 10\.0\.0\.1\/8 are meaningless/,
            'are told');
    }
    bad('electrumx_strict yes', block('electrumx_strict yes;'),
        qr/it must be "on" or "off"/);
    bad('electrumx_strict twice',
        block('electrumx_strict on; electrumx_strict on;'),
        qr/is duplicate/);
}

sub report_host {
    good('an IPv6 address', block('report_host tcp://[2001:db8::1]:50001;'));
    good('an onion', block('report_host tcp://' . 'a' x 56 . '.onion:50001;'));
    for my $h ('h.example', 'h.example:50001', 'http://h.example:1', 'tcp://') {
        bad($h, block("report_host $h;"),
            qr{"\Q$h\E" must begin with tcp://, ssl://, ws:// or wss://});
    }
    for my $h ('tcp://h.example', 'tcp://:50001') {
        bad($h, block("report_host $h;"), qr{must end with HOST:PORT});
    }
    for my $h ('tcp://h:0', 'tcp://h:65536', 'tcp://h:x', 'ssl://h:') {
        bad($h, block("report_host $h;"), qr{has no valid port});
    }
    for my $h ('ws://a/b:80', "'ws://a b:80'", q{'ws://a"b:80'}) {
        bad($h, block("report_host $h;"), qr{has no valid host});
    }
    bad('one of two', block('report_host tcp://h.example:1 h;'),
        qr/"h" must begin with/);
    bad('none', block('report_host;'),
        qr/invalid number of arguments in "report_host"/);
}

sub bad_passes {
    bad('an unknown name in stream', block() . stream('electrumx_pass x;'),
        qr/no electrumx "x" block, but "x" is used in .*test\.conf:\d+/);
    bad('an unknown name in http',
        block() . http('location / { electrumx_pass x; }'),
        qr/no electrumx "x" block, but "x" is used in .*test\.conf:\d+/);
    bad('an unknown name in a status',
        block() . http('location / { electrumx_status x; }'),
        qr/no electrumx "x" block/);
    bad('no name', block() . stream('electrumx_pass;'),
        qr/invalid number of arguments in "electrumx_pass"/);
    bad('twice in stream',
        block() . stream('electrumx_pass main; electrumx_pass main;'),
        qr/"electrumx_pass" directive is duplicate/);
    bad('twice in http', block()
            . http('location / { electrumx_pass main; electrumx_pass main; }'),
        qr/"electrumx_pass" directive is duplicate/);
    bad('pass and status in one location', block()
            . http('location / { electrumx_pass main; electrumx_status main; }'),
        qr/"electrumx_status" directive is duplicate/);
    bad('in an http server', block() . http('electrumx_pass main;'),
        qr/"electrumx_pass" directive is not allowed here/);
    bad('status in stream', block() . stream('electrumx_status main;'),
        qr/unknown directive|"electrumx_status" directive is not allowed here/);
    bad('in main', block() . 'electrumx_pass main;',
        qr/"electrumx_pass" directive is not allowed here/);
}

sub without_stream {
    if (!ElectrumX::Test::stream_module()) {
        pass('stream is built in here');
        return;
    }
    my $module = ElectrumX::Test::module_path();
    bad('not loaded', block(), qr/undefined symbol: ngx_stream_\w+/,
        load => "load_module $module;\n");
}

# ---- a running nginx ---------------------------------------------------------

sub locations {
    $t->start_nginx(
        server => <<'EOT');
        location /if { electrumx_status main; if ($arg_x) { set $y 1; } }
        location /limited {
            electrumx_status main;
            limit_except GET { deny 127.0.0.2; }
        }
        location /nested { electrumx_status main; location /nested/x { } }
EOT
    my ($code, $body) = $t->http_get('/status');
    is($code, 503, 'status without an index');
    my $status = ElectrumX::Client->decode($body);
    is($status->{ready}, JSON::PP::false, 'not ready');
    is($status->{indexer}, undef, 'no indexer');
    is($status->{worker}{sessions}, 0, 'no sessions');
    like($status->{worker}{pid}, qr/^\d+$/, 'the pid of the worker');
    is(($t->http_get($_))[0], 503, $_)
        for '/if', '/if?x=1', '/limited', '/nested';
    isnt(($t->http_get('/nested/x'))[0], 503,
        'a nested location has a handler of its own');
    my ($plain, $text, $head) = $t->http_get('/');
    is($plain, 426, 'a plain GET of a WebSocket location');
    like($head, qr{^HTTP/1\.1 426 Upgrade Required\r\n}, 'wants an upgrade');
    like($head, qr{^Upgrade: websocket\r?$}mi, 'to WebSocket');
    like($head, qr{^Connection: upgrade\r?$}mi, 'of the connection');
    like($text, qr/WebSocket/, 'and says so in words');
}

sub no_index {
    for my $transport (qw(tcp tls ws wss)) {
        my $c = $t->client($transport);
        my ($software, $version) = @{ $c->version('1.4') };
        like($software, qr/^ElectrumX-nginx /, "$transport: version");
        is($c->call('server.ping'), undef, "$transport: ping");
        my $error = $c->error_of('blockchain.headers.subscribe');
        is($error->{code}, -32603, "$transport: no headers yet");
        ok(length $error->{message}, "$transport: $error->{message}");
        is($c->call('server.ping'), undef, "$transport: goes on");
        $c->close;
    }
    my ($pid) = $t->worker_pids;
    is(join(' ', $t->worker_pids), $pid, 'one worker');
    $t->reload_nginx;
    isnt(($t->worker_pids)[-1], $pid, 'it can be reloaded');
    is(($t->http_get('/status'))[0], 503, 'and serves on');
}
