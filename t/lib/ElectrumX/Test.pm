package ElectrumX::Test;

# Harness of the whole-system tests: a temporary directory, ports, nginx with
# a configuration of its own, the indexer, and the checks that end each test.
#
#   use lib 't/lib';
#   use ElectrumX::Test;                 # also gives Test::More's functions
#
#   my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind)]);
#   $t->dir;                             # temporary directory, or the one of
#                                        # new(dir => ...), which is kept
#   $t->path('data');                    # a path inside
#   $t->port('tcp');                     # free port, the same for each call
#   $t->write_file('x.conf', $text); $t->read_file('x.conf');
#
#   $t->start_indexer(daemon_url => 'http://127.0.0.1:1', live_window => 20);
#   $t->start_nginx(workers => 2);       # see nginx_conf() for all options
#   my $c = $t->client('tcp');           # tcp, tls, ws, wss: ElectrumX::Client
#   $t->wait_ready($height);             # until status.json says ready
#   $t->wait_for(sub { ... }, 10, 'what');       # or the test dies; longer
#                                        # where the machine is busy
#   ElectrumX::Test::slowness();         # how busy it is: 1 ... 8
#   $t->http_get('/status');             # (status, body) over the http port
#
#   $t->reload_nginx; $t->worker_pids; $t->stop_indexer; $t->kill_indexer;
#   $t->start($name, cmd => [...]);      # any other process, see Proc.pm
#   $t->allow_alert(qr/exited on signal 9/);
#   $t->done;                            # final checks and done_testing
#
# Environment: ELECTRUMX_BUILD build directory (default build; build/asan has
# its own nginx), ELECTRUMX_INDEXER another indexer, ELECTRUMX_NODES directory with bin/bitcoind and so on
# (default $ELECTRUMX_BUILD/nodes or build/nodes), ELECTRUMX_KEEP=1 keeps the
# temporary directory, EXPECT_FEATURES pins what a run must have.

use strict;
use warnings;
use Cwd ();
use File::Basename ();
use File::Path ();
use File::Temp ();
use IO::Socket::INET;
use JSON::PP ();
use Socket ();
use Test::More;
use Time::HiRes qw(sleep time);
use ElectrumX::Proc;
use ElectrumX::Client;

our $ROOT = Cwd::abs_path(File::Basename::dirname(__FILE__) . '/../../..');

sub import {
    my $caller = caller;
    no strict 'refs';
    *{"${caller}::$_"} = \&{"Test::More::$_"}
        for qw(ok is isnt like unlike cmp_ok is_deeply pass fail diag note
        subtest BAIL_OUT explain can_ok isa_ok done_testing plan);
    strict->import;
    warnings->import;
    binmode $_, ':utf8' for Test::More->builder->output,
        Test::More->builder->failure_output,
        Test::More->builder->todo_output;
    $SIG{$_} = sub { die "caught signal $_[0]\n" } for qw(INT TERM HUP);
    $SIG{PIPE} = 'IGNORE';
    ElectrumX::Proc::adopt_orphans();
    Test::More->builder->output->autoflush(1);
}

sub new {
    my ($class, %o) = @_;
    my $self = bless {
        procs => {}, all => [], ports => {}, locks => [], alerts => [],
        build => build_dir(), owner => $$,
    }, $class;
    need($_) for @{ $o{needs} || [] };
    $self->{tmp} = File::Temp->newdir(
        't-XXXXXXXX', DIR => _tmp_root(), CLEANUP => !$ENV{ELECTRUMX_KEEP})
        if !$o{dir};
    $self->{dir} = $o{dir} || $self->{tmp}->dirname;
    chmod 0755, $self->{dir};
    diag("kept: $self->{dir}") if $ENV{ELECTRUMX_KEEP};
    return $self;
}

# Unix socket paths have at most 107 bytes: a deep checkout uses /tmp.
sub _tmp_root {
    my $root = $ENV{TMPDIR} || "$ROOT/build/tmp";
    $root = '/tmp' if length $root > 60;
    File::Path::make_path($root);
    return $root;
}

sub build_dir {
    my $b = $ENV{ELECTRUMX_BUILD} || 'build';
    return $b =~ m{^/} ? $b : "$ROOT/$b";
}

sub dir   { $_[0]{dir} }
sub path  { "$_[0]{dir}/$_[1]" }
sub build { $_[0]{build} }
sub data  { $_[0]{data} //= $_[0]->path('data') }

# ---- what a test needs ------------------------------------------------------

my %FIND = (
    nginx     => sub { nginx_program() && module_path() },
    indexer   => sub { _program(build_dir() . '/electrumx-indexer') },
    ctl       => sub { _program(build_dir() . '/electrumx-ctl') },
    bitcoind  => sub { _program(nodes_dir() . '/bin/bitcoind') },
    litecoind => sub { _program(nodes_dir() . '/bin/litecoind') },
    electrum  => sub { _program(nodes_dir() . '/bin/electrum') },
    chromium  => sub { _in_path('chromium') },
    npm       => sub { _in_path('node') && -e npm_dir() . '/complete' },
    openssl   => sub { _in_path('openssl') },
    tls       => sub { eval { require IO::Socket::SSL } },
    bench     => sub { _program(build_dir() . '/bench/chaingen') },
    root      => sub { $> == 0 },
);

# A missing part is a failure of the run, never a silent skip.  With
# EXPECT_FEATURES=a,b,c a test that needs anything else stops the run too.
sub need {
    my ($feature) = @_;
    my $find = $FIND{$feature} or die "unknown feature $feature";
    my $pin = $ENV{EXPECT_FEATURES};
    if (defined $pin && !grep { $_ eq $feature } split /[,\s]+/, $pin) {
        BAIL_OUT("$0 needs '$feature', not in EXPECT_FEATURES");
    }
    return if $find->();
    BAIL_OUT("$0 needs '$feature', in EXPECT_FEATURES but not found")
        if defined $pin;
    plan(tests => 1);
    fail("'$feature' is needed and not found");
    exit 1;
}

sub _program { -x $_[0] && !-d _ ? $_[0] : undef }

sub _in_path {
    my ($name) = @_;
    for my $d (split(/:/, $ENV{PATH} || ''), '/usr/sbin', '/usr/bin') {
        return "$d/$name" if -x "$d/$name" && !-d _;
    }
    return undef;
}

sub nodes_dir {
    return $ENV{ELECTRUMX_NODES} if $ENV{ELECTRUMX_NODES};
    my $own = build_dir() . '/nodes';
    return -d $own ? $own : "$ROOT/build/nodes";
}

# Electrum clients of others and what they need, see indexer/tools/npm.sh.
sub npm_dir { return "$ROOT/build/npm" }

sub program { my ($self, $name) = @_; return nodes_dir() . "/bin/$name" }

# ---- files and ports --------------------------------------------------------

sub write_file {
    my ($self, $name, $text) = @_;
    my $path = $name =~ m{^/} ? $name : $self->path($name);
    File::Path::make_path(File::Basename::dirname($path));
    open my $fh, '>', $path or die "$path: $!";
    binmode $fh;
    print {$fh} $text;
    close $fh or die "$path: $!";
    return $path;
}

sub read_file {
    my ($self, $name) = @_;
    my $path = $name =~ m{^/} ? $name : $self->path($name);
    open my $fh, '<', $path or return undef;
    binmode $fh;
    local $/;
    return scalar <$fh>;
}

# A port is ours while the abstract unix socket of the same number is bound:
# other tests (prove -j) pass by, nothing is left on disk.  Numbers are below
# the range of outgoing connections.
sub port {
    my ($self, $name) = @_;
    return $self->{ports}{$name} //= $self->_new_port;
}

sub _new_port {
    my ($self) = @_;
    for (1 .. 2000) {
        my $port = 10000 + int rand 20000;
        socket my $lock, Socket::AF_UNIX(), Socket::SOCK_STREAM(), 0
            or die "socket: $!";
        bind $lock, Socket::pack_sockaddr_un("\0electrumx-test-$port")
            or next;
        my $probe = IO::Socket::INET->new(
            LocalAddr => '127.0.0.1', LocalPort => $port, Proto => 'tcp',
            Listen => 1, ReuseAddr => 1) or next;
        close $probe;
        push @{ $self->{locks} }, $lock;
        return $port;
    }
    die "no free port";
}

# ---- processes --------------------------------------------------------------

sub start {
    my ($self, $name, %o) = @_;
    $o{log} //= $self->path("$name.log");
    my $p = ElectrumX::Proc->start(name => $name, %o);
    $self->{procs}{$name} = $p;
    push @{ $self->{all} }, $p;
    return $p;
}

sub proc { $_[0]{procs}{ $_[1] } }

sub stop {
    my ($self, $name) = @_;
    my $p = $self->{procs}{$name} or return;
    return $p->stop;
}

# How many times longer things take here and now than with the machine to
# oneself: processes that want to run for each processor, 1 to 8.
sub slowness {
    open my $fh, '<', '/proc/loadavg' or return 1;
    my ($load, $running) = (scalar(<$fh>) // '')
        =~ m{^(\S+) \S+ \S+ (\d+)/} or return 1;
    my $cpus = () = glob '/sys/devices/system/cpu/cpu[0-9]*';
    my $factor = ($running > $load ? $running : $load) / ($cpus || 1);
    return $factor < 1 ? 1 : $factor > 8 ? 8 : $factor;
}

# Calls $cond until it returns true (its value is returned); dies with $what.
# The time is that of an idle machine.
sub wait_for {
    my ($self, $cond, $timeout, $what) = @_;
    $timeout //= 20;
    my ($start, $slow) = (time, 1);
    while (1) {
        my $value = $cond->();
        return $value if $value;
        if (time > $start + $timeout * $slow) {
            my $now = slowness();
            $slow = $now if $now > $slow;
            last if time > $start + $timeout * $slow;
        }
        sleep 0.02;
    }
    $self->dump_logs;
    die "timeout: " . ($what // 'condition') . "\n";
}

sub dump_logs {
    my ($self) = @_;
    for my $log ($self->logs) {
        my @lines = split /\n/, $self->read_file($log) // '';
        splice @lines, 0, @lines - 15 if @lines > 15;
        diag("--- " . File::Basename::basename($log));
        diag($_) for @lines;
    }
}

sub logs {
    my ($self) = @_;
    return sort glob("$self->{dir}/*.log");
}

# ---- the indexer ------------------------------------------------------------

# Options are the settings of its configuration file (kept for later starts);
# start options: _user, _fsize, _env, _program, _name (process and file name,
# default indexer).
sub start_indexer {
    my ($self, %o) = @_;
    my %start = map { $_ => delete $o{"_$_"} } qw(user fsize data env name program);
    my $name = $start{name} // 'indexer';
    my $conf = $self->indexer_conf($name, %o);
    $start{env} = { $self->san_env, %{ $start{env} || {} } };
    return $self->start($name, death => 'KILL',
        (map { $_ => $start{$_} } grep { defined $start{$_} }
            qw(user fsize data)),
        env => $start{env},
        cmd => [$start{program} || $ENV{ELECTRUMX_INDEXER}
            || "$self->{build}/electrumx-indexer",
            '-c', $conf]);
}

sub indexer_conf {
    my ($self, $name, %o) = @_;
    my %conf = (network => 'regtest', data_dir => $self->data,
        log_level => 'debug', poll_ms => 100, %{ $self->{indexer_conf} || {} }, %o);
    $self->{data} = $conf{data_dir} if $name eq 'indexer';
    $self->{indexer_conf} = \%conf if $name eq 'indexer';
    my $text = join '', map {"$_ = $conf{$_}\n"}
        grep { defined $conf{$_} } sort keys %conf;
    return $self->write_file("$name.conf", $text);
}

sub stop_indexer { $_[0]->stop('indexer') }
sub kill_indexer { $_[0]->proc('indexer')->kill_hard }

# status.json as a hash, or undef.
sub status {
    my ($self) = @_;
    my $text = $self->read_file($self->data . '/status.json') // return undef;
    return eval { JSON::PP->new->utf8->decode($text) };
}

# Waits until the indexer is ready (and at the height, if given).
sub wait_ready {
    my ($self, $height, $timeout) = @_;
    my $p = $self->proc('indexer');
    return $self->wait_for(
        sub {
            die "indexer ended: " . $self->tail('indexer.log') . "\n"
                if $p && !$p->running;
            my $s = $self->status or return;
            return if ($s->{state} // '') ne 'ready';
            return if $p && defined $s->{pid} && $s->{pid} != $p->pid;
            return !defined $height || $s->{height} == $height ? $s : undef;
        },
        $timeout // 30,
        "indexer ready" . (defined $height ? " at height $height" : ''));
}

sub tail {
    my ($self, $log, $n) = @_;
    my @lines = split /\n/, $self->read_file($log) // '';
    $n //= 10;
    splice @lines, 0, @lines - $n if @lines > $n;
    return join "\n", @lines;
}

# ---- nginx ------------------------------------------------------------------

sub nginx_program {
    my $own = build_dir() . '/nginx';
    return $own if -x $own && !-d _;
    return _in_path('nginx');
}

sub module_path {
    my $m = build_dir() . '/ngx_electrumx_module.so';
    return -e $m ? $m : undef;
}

# Where stream is a module of its own (Debian), its file; '' if built in.
sub stream_module {
    my $v = `${\ nginx_program()} -V 2>&1`;
    return '' if $v !~ /--with-stream=dynamic/;
    my ($modules) = $v =~ /--modules-path=(\S+)/;
    for my $d (build_dir(), build_dir() . '/modules', $modules // (),
        '/usr/lib/nginx/modules')
    {
        return "$d/ngx_stream_module.so" if -e "$d/ngx_stream_module.so";
    }
    die "ngx_stream_module.so not found";
}

# The whole nginx.conf.  Options: workers (1), data (directory), user, level
# (of the error log, info), electrumx / stream / http / server / main (more
# directives in the block), tcp_listen, tls_listen, ws_listen, wss_listen
# (added to listen, e.g. 'proxy_protocol'), networks ({ name => directory },
# in place of main); start_nginx also takes env (of the process).
sub nginx_conf {
    my ($self, %o) = @_;
    my %n = $o{networks} ? %{ $o{networks} } : (main => $o{data} || $self->data);
    my ($first) = sort keys %n;
    my %l = map { $_ => '127.0.0.1:' . $self->port($_)
            . ($o{"${_}_listen"} ? " $o{\"${_}_listen\"}" : '') }
        qw(tcp tls ws wss);
    my %x = map { $_ => $o{$_} // '' } qw(electrumx stream http server main);
    my $stream = stream_module();
    my $blocks = join '',
        map {"electrumx $_ {\n    data $n{$_};\n    $x{electrumx}\n}\n"}
        sort keys %n;
    my $load = join '', map {"load_module $_;\n"} grep {$_} $stream,
        module_path();
    my $user = $o{user} // ($> == 0 ? 'root' : '');
    my $cert = $self->certificate;
    return "${load}master_process on;\n"
        . ($user ? "user $user;\n" : '')
        . "worker_processes " . ($o{workers} || 1) . ";\n"
        . "pid $self->{dir}/nginx.pid;\n"
        . "error_log $self->{dir}/nginx-error.log " . ($o{level} || 'info')
        . ";\nevents { worker_connections 1024; }\n$x{main}\n$blocks"
        . _stream_block($cert, $first, \%l, \%x)
        . $self->_http_block($cert, $first, \%l, \%x);
}

sub _stream_block {
    my ($cert, $name, $l, $x) = @_;
    return <<"EOT";
stream {
    ssl_certificate $cert.crt;
    ssl_certificate_key $cert.key;
    $x->{stream}
    server { listen $l->{tcp}; electrumx_pass $name; }
    server { listen $l->{tls} ssl; electrumx_pass $name; }
}
EOT
}

sub _http_block {
    my ($self, $cert, $name, $l, $x) = @_;
    my $tmp = join '', map {"    ${_}_temp_path $self->{dir}/nginx-tmp;\n"}
        qw(client_body proxy fastcgi uwsgi scgi);
    my $locations = <<"EOT";
        location / { electrumx_pass $name; }
        location = /status { electrumx_status $name; }
        location /static/ { root $self->{dir}; }
        $x->{server}
EOT
    return <<"EOT";
http {
    access_log $self->{dir}/nginx-access.log;
$tmp    ssl_certificate $cert.crt;
    ssl_certificate_key $cert.key;
    types { text/html html; text/javascript js; }
    $x->{http}
    server {
        listen $l->{ws};
$locations    }
    server {
        listen $l->{wss} ssl;
$locations    }
}
EOT
}

# A self-signed certificate, made once; the path without its ending.
sub certificate {
    my ($self) = @_;
    my $base = $self->path('cert');
    return $base if -e "$base.crt";
    my ($out, $status) = ElectrumX::Proc->run(timeout => 30, cmd => [
        _in_path('openssl'), 'req', "-x509", "-newkey", "ec", "-pkeyopt",
        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj",
        "/CN=localhost", "-addext",
        "subjectAltName=DNS:localhost,IP:127.0.0.1",
        '-keyout', "$base.key", '-out', "$base.crt"]);
    die "openssl: $out" if $status != 0;
    return $base;
}

# Starts nginx and waits until its ports answer; options of nginx_conf().
sub start_nginx {
    my ($self, %o) = @_;
    $self->write_file('nginx.conf', $o{conf} || $self->nginx_conf(%o));
    mkdir $self->path('static');
    # With -g, as nginx copies a null pointer without (a report of UBSan).
    my $p = $self->start('nginx', death => 'TERM',
        env => { $self->san_env, %{ $o{env} || {} } },
        cmd => [nginx_program(), '-g', 'daemon off;', '-p', $self->{dir}, '-e',
            $self->path('nginx-error.log'), '-c', $self->path('nginx.conf')]);
    $self->wait_for(
        sub {
            die "nginx ended: " . $self->tail('nginx.log')
                . $self->tail('nginx-error.log') . "\n" if !$p->running;
            return $self->_answers($self->port($o{probe} || 'ws'))
                && -s $self->path('nginx.pid');
        }, 10, 'nginx answers');
    return $p;
}

sub _answers {
    my ($self, $port) = @_;
    my $s = IO::Socket::INET->new(
        PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 1);
    return $s ? 1 : 0;
}

sub stop_nginx { $_[0]->stop('nginx') }

# Pids of the present worker processes (also of those shutting down).
sub worker_pids {
    my ($self) = @_;
    my $master = $self->proc('nginx')->pid;
    my $list = '';
    for my $f (glob "/proc/$master/task/*/children") {
        $list .= ($self->read_file($f) // '') . ' ';
    }
    my @pids = sort { $a <=> $b } split ' ', $list;
    return @pids;
}

# SIGHUP, and waits until all workers are new ones (or $o{old} may stay).
sub reload_nginx {
    my ($self, %o) = @_;
    my %old = map { $_ => 1 } $self->worker_pids;
    $self->proc('nginx')->signal('HUP');
    $self->wait_for(
        sub {
            my @new = grep { !$old{$_} } $self->worker_pids;
            return @new >= ($o{workers} || 1);
        }, 10, 'new workers after reload');
}

sub client {
    my ($self, $transport, %o) = @_;
    return ElectrumX::Client->connect(
        transport => $transport, port => $self->port($transport), %o);
}

# A plain HTTP/1.0 request to the http port; (status, body, head).
sub http_get {
    my ($self, $path, %o) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', Timeout => 5,
        PeerPort => $o{port} || $self->port('ws')) or return;
    print {$s} "GET $path HTTP/1.0\r\nHost: localhost\r\n\r\n";
    local $/;
    my ($head, $body) = split /\r\n\r\n/, scalar(<$s>) // '', 2;
    my ($code) = ($head // '') =~ m{^HTTP/1\.\d (\d+)};
    return ($code, $body, $head);
}

# ---- end of a test ----------------------------------------------------------

sub san_env {
    my $asan = $ENV{ASAN_OPTIONS}
        // 'detect_leaks=0:abort_on_error=0:exitcode=99';
    my $ubsan = $ENV{UBSAN_OPTIONS} // 'print_stacktrace=1';
    my $tsan = $ENV{TSAN_OPTIONS}
        // "suppressions=$ROOT/t/data/tsan.supp:exitcode=0";
    return (ASAN_OPTIONS => $asan, UBSAN_OPTIONS => $ubsan,
        TSAN_OPTIONS => $tsan);
}

# An [alert] or [emerg] line that this test provokes on purpose.
sub allow_alert { my ($self, $re) = @_; push @{ $self->{alerts} }, $re }

# A process that this test lets end by itself.
sub allow_exit { $_[0]{exits}{ $_[1] } = 1 }

sub done {
    my ($self) = @_;
    $self->_check_ended;
    $_->stop for reverse @{ $self->{all} };
    my @stuck = map { $_->name } grep { $_->{killed} } @{ $self->{all} };
    is("@stuck", '', 'all processes stopped at SIGTERM');
    my @left = ElectrumX::Proc::left_behind();
    if (@left) {    # the grandchildren of those just stopped
        sleep 0.5;
        @left = ElectrumX::Proc::left_behind();
    }
    is("@left", '', 'no process left behind');
    $self->_check_logs;
    done_testing();
}

# No process ended that was not told to.
sub _check_ended {
    my ($self) = @_;
    my @bad = map { $_->name . ' (status ' . $_->status . ')' }
        grep { !$_->running && !$_->stopped_by_us
            && !$self->{exits}{ $_->name } } @{ $self->{all} };
    is("@bad", '', 'no process ended by itself');
}

# nginx 1.22 finds fault with itself when SIGTERM comes to a worker that waits
# for its last sessions: "open socket left" then says only that they were there.
sub _check_logs {
    my ($self) = @_;
    my (@alerts, @san);
    for my $log ($self->logs) {
        open my $fh, '<', $log or next;
        my (%waits, %cut);
        while (my $line = <$fh>) {
            my ($pid) = $line =~ /\] (\d+)#/;
            $waits{$pid} = 1 if $line =~ /gracefully shutting down/;
            %cut = (%cut, %waits) if $line =~ /\(SIGTERM\) received from/;
            next if defined $pid && $cut{$pid}
                && $line =~ /\[alert\].*(?:open socket #|: aborting$)/;
            push @san, $line
                if $line =~ /AddressSanitizer|ThreadSanitizer|LeakSanitizer|runtime error:/;
            next if $log !~ /nginx/ || $line !~ /\[(?:alert|emerg)\]/;
            push @alerts, $line
                if !grep { $line =~ $_ } @{ $self->{alerts} };
        }
    }
    is(join('', @alerts[0 .. ($#alerts > 9 ? 9 : $#alerts)]), '',
        'no alerts in the logs of nginx');
    is(join('', @san[0 .. ($#san > 9 ? 9 : $#san)]), '',
        'no sanitizer reports');
}

# Processes first (Proc's END), then the directory.
sub DESTROY {
    my ($self) = @_;
    return if $$ != $self->{owner} || ${^GLOBAL_PHASE} eq 'DESTRUCT';
    local ($?, $@, $!);
    $_->running && $_->stop for reverse @{ $self->{all} };
}

1;
