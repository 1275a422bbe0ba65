#!/usr/bin/perl
# What a request costs the server, and a connection: the table of
# docs/performance.md, "Serving".
#
#   make bench-serve                       # or:
#   perl -It/lib t/bench/serve.pl [--txs 5000000] [--dir build/bench/serve]
#       [--seconds 3] [--repeat 3] [--idle 10000] [--only table,workers,memory,block]
#       [--transport tcp0|ws0|tls0|wss0|tcp10]    (of the idle connections)
#
# Makes a chain (chaingen), lets a node load it and the indexer settle it, and
# asks nginx; the directory is kept, so that the next run begins at once (remove
# it to begin anew).  CPU time is that of worker and indexer together, from
# /proc; an answer that is not a result ends the run with 1.
use strict;
use warnings;
use Getopt::Long;
use IO::Handle;
use JSON::PP ();
use Time::HiRes qw(sleep time);
use ElectrumX::Test;
use ElectrumX::Node;
use ElectrumX::Tx ();

my %o = (txs => 5_000_000, repeat => 3, seconds => 3, idle => 10_000, warmup => 1,
    per_block => 800, only => 'table,workers,memory,block');
GetOptions(\%o, qw(txs=i repeat=i dir=s seconds=f warmup=f idle=i per_block=i only=s
    transport=s))
    or die "see the head of $0\n";
my $build = ElectrumX::Test::build_dir();
my $dir = $o{dir} || "$build/bench/serve";
my $blocks = 110 + int $o{txs} / $o{per_block};
my $chain = "$dir/chain.dat";
my %only = map { $_ => 1 } split /,/, $o{only};
my $failed = 0;

mkdir $dir;
STDOUT->autoflush(1);
my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind)],
    dir => Cwd::abs_path($dir));

# ---- the chain, the node, the indexer ---------------------------------------

sub run_or_die {
    system(@_) == 0 or die "@_: failed\n";
}

sub make_chain {
    return if -e "$chain.json";
    run_or_die("$build/bench/chaingen", '--out', $chain, '--blocks', $blocks,
        '--txs-per-block', $o{txs} / $blocks, '--growth', 0,
        '--end-time', 1_700_000_000, '--samples', 20_000,
        '--dump-utxos', 20_000);
}

sub side {
    open my $f, '<', "$chain.json" or die "$chain.json: $!";
    local $/;
    return JSON::PP->new->decode(<$f>);
}

my $node;

sub start_node {
    my $side = side();
    my @load = -e "$dir/loaded" ? () : "-loadblock=$chain";
    $node = ElectrumX::Node->start($t, name => 'node', args => [
        '-dbcache=1000', '-maxtipage=2000000000', '-checkblockindex=0',
        "-assumevalid=$side->{tip}", '-disablewallet=1', @load]);
    return if !@load;
    $t->wait_for(sub { $node->height >= $side->{height} }, 3600,
        'the node loads the chain');
    unlink $chain;
    $t->write_file('loaded', "\n");
}

sub start_all {
    make_chain();
    start_node();
    $t->start_indexer($node->indexer_conf, log_level => 'info',
        blocks_dir => "$node->{dir}/regtest/blocks");
    $t->wait_ready($node->height, 3600);
}

# ---- nginx ------------------------------------------------------------------

sub start_nginx {
    my ($workers, $connections) = @_;
    my %l = map { $_ => '127.0.0.1:' . $t->port($_)
            . ($workers > 1 ? ' reuseport' : '') } qw(tcp tls ws wss);
    my $load = join '', map {"load_module $_;\n"} grep {$_}
        ElectrumX::Test::stream_module(), ElectrumX::Test::module_path();
    my $user = $> == 0 ? "user root;\n" : '';
    my $cert = $t->certificate;
    my $data = $t->data;
    $t->stop_nginx;
    $t->start_nginx(conf => <<"EOT");
${load}${user}worker_processes $workers;
worker_rlimit_nofile 65000;
pid $dir/nginx.pid;
error_log $dir/nginx-error.log warn;
events { worker_connections $connections; }
electrumx main { data $data; }
stream {
    ssl_certificate $cert.crt;
    ssl_certificate_key $cert.key;
    server { listen $l{tcp}; electrumx_pass main; }
    server { listen $l{tls} ssl; electrumx_pass main; }
}
http {
    access_log off;
    request_pool_size 5k;
    ssl_certificate $cert.crt;
    ssl_certificate_key $cert.key;
    server {
        listen $l{ws};
        location / { electrumx_pass main; }
        location = /status { electrumx_status main; }
    }
    server { listen $l{wss} ssl; location / { electrumx_pass main; } }
}
EOT
    $t->wait_for(sub { $t->worker_pids == $workers }, 10, 'workers');
}

# ---- load -------------------------------------------------------------------

sub load_args {
    my ($transport, @more) = @_;
    my @how = $transport eq 'ws' ? '--ws' : $transport eq 'tls' ? '--tls'
        : $transport eq 'wss' ? qw(--ws --tls) : ();
    return ("$build/bench/load", '--port', $t->port($transport), @how,
        '--height', side()->{height}, '--txs', "$chain.txs.tsv",
        '--scripts', "$chain.samples.tsv", @more);
}

# The run with the lowest cost of several: others on the machine only add.
sub load {
    my ($best) = sort { ($a->{cpu_us} || 9e9) <=> ($b->{cpu_us} || 9e9) }
        map { load_once(@_) } 1 .. $o{repeat};
    return $best;
}

sub load_once {
    my ($transport, @more) = @_;
    my @pids = map { ('--pid', $_) } $t->worker_pids,
        $t->proc('indexer')->pid;
    open my $p, '-|', load_args($transport, '--seconds', $o{seconds},
        '--warmup', $o{warmup}, @pids, @more) or die "load: $!";
    my %r = map { /(\w+)=(\S+)/ ? ($1, $2) : () } map { split } <$p>;
    close $p or $failed = 1;
    print "load @more: failed\n" if $?;
    return \%r;
}

# name, arguments, target, aim, Fulcrum 2.1.1, ElectrumX 1.20 (us of CPU)
my @table = (
    ['server.ping', [qw(--kind ping)], 0.6, 0.6, '3', '76'],
    ['block.header', [qw(--kind header)], 1.5, 1, '16-23', '248'],
    ['get_history (10)', [qw(--kind history --class 10)], 6, 3.5, '32-35',
        '124'],
    ['get_balance', [qw(--kind balance --class 10)], 5, 2.5, '21-27', '1027'],
    ['listunspent (10)', [qw(--kind listunspent --class 10-utxos)], 6, 3.5,
        '', ''],
    ['subscribe (10)', [qw(--kind subscribe --class 10)], 6, 3.5, '', ''],
    ['transaction.get (400 B)', [qw(--kind tx)], 6, 3, '', ''],
    ['get_merkle (800)', [qw(--kind merkle)], 15, 8, '21-27', '129'],
);

sub table {
    start_nginx(1, 1024);
    printf "%-24s %8s %8s %8s %6s %6s %5s %8s %10s %9s %9s\n", 'request',
        qw(random hot WS WS+% target aim Fulcrum ElectrumX req/s p99_us);
    for my $row (@table) {
        my ($name, $args, $target, $aim, @peers) = @$row;
        my @once = $args->[1] eq 'subscribe' ? '--once' : ();
        load_once('tcp', @$args, '--once')
            if !@once && $args->[1] ne 'ping';
        my $r = load('tcp', @$args, @once);
        my $hot = load('tcp', @$args, '--hot');
        my $ws = load('ws', @$args, @once);
        printf "%-24s %8.2f %8.2f %8.2f %6.0f %6.1f %5.1f %8s %10s %9.0f "
            . "%9.0f%s\n", $name, $r->{cpu_us}, $hot->{cpu_us}, $ws->{cpu_us},
            100 * $ws->{cpu_us} / ($r->{cpu_us} || 1) - 100, $target, $aim,
            @peers, $r->{rps}, $r->{p99_us},
            $r->{cpu_us} > $target ? ' *' : '';
    }
}

# As the generator needs a core, too, the machine's throughput says nothing:
# what counts is what a request costs when both workers are busy.
sub workers {
    my @args = (qw(--kind history --class 10), '--connections', 32);
    start_nginx(1, 1024);
    my $one = load('tcp', @args);
    start_nginx(2, 1024);
    my $two = load('tcp', @args);
    my @share = map { $two->{"cpu_us_$_"} / ($two->{cpu_us} || 1) }
        $t->worker_pids;
    printf "two workers: %.2f us a request (one: %.2f), shares %.2f %.2f; "
        . "%.2f times one (target 1.7)\n", $two->{cpu_us}, $one->{cpu_us},
        @share, 2 * $one->{cpu_us} / ($two->{cpu_us} || 1);
}

# ---- idle connections -------------------------------------------------------

sub anon_kb {
    my ($pid) = $t->worker_pids;
    my $text = $t->read_file("/proc/$pid/smaps_rollup") // '';
    return $text =~ /^Anonymous:\s+(\d+)/m ? $1 : 0;
}

my ($idle_pid, $idle_in, $idle_out);

sub idle_start {
    my ($transport, $subs) = @_;
    pipe my $r, $idle_in or die "pipe: $!";
    pipe $idle_out, my $w or die "pipe: $!";
    $idle_pid = fork // die "fork: $!";
    if (!$idle_pid) {
        open STDIN, '<&', $r;
        open STDOUT, '>&', $w;
        close $idle_in;
        close $idle_out;
        exec load_args($transport, '--idle', $o{idle}, '--subs', $subs,
            '--sources', 16, '--class', '1,2,10');
        die "load: $!";
    }
    $idle_in->autoflush(1);
}

sub idle_say {
    my ($what) = @_;
    print {$idle_in} "$what\n";
    my $line = <$idle_out> // die "load ended\n";
    return { map { split /=/ } split ' ', $line };
}

sub idle_up {
    my ($comebacks) = @_;
    my $r;
    $t->wait_for(sub {
        $r = idle_say('stat');
        return $r->{up} == $o{idle} && $r->{comebacks} >= ($comebacks || 0);
    }, 120, 'idle connections');
    return $r;
}

sub idle_stop {
    close $idle_in;
    waitpid $idle_pid, 0;
    $failed = 1 if $?;
}

sub memory {
    my $small = 256;
    for my $row (['tcp', 0, 5], ['ws', 0, 8], ['tls', 0, undef],
        ['wss', 0, undef], ['tcp', 10, 10])
    {
        next if $o{transport} && "$row->[0]$row->[1]" ne $o{transport};
        my ($transport, $subs, $target) = @$row;
        start_nginx(1, $small);
        load_once($transport, qw(--kind header --once));
        my $before = anon_kb();
        start_nginx(1, $o{idle} + 1000);
        load_once($transport, qw(--kind header --once));
        idle_start($transport, $subs);
        idle_up();
        my $kb = (anon_kb() - $before) / $o{idle};
        printf "%d idle %s connections, %d scripts each: %.2f KB each%s\n",
            $o{idle}, $transport, $subs, $kb,
            $target ? " (target $target)" : '';
        block_and_reload() if $subs && $only{block};
        idle_stop();
    }
}

# A transaction with an output to script 0 of each of the first $n connections.
sub touching_tx {
    my ($n) = @_;
    my $outs = join '', map {
        pack 'Q<C C L< C L< C2', 0, 12, 4, $_, 4, 0, 0x6d, 0x51
    } 0 .. $n - 1;
    open my $f, '<', "$chain.utxos.tsv" or die "$chain.utxos.tsv: $!";
    while (<$f>) {
        my ($txid, $vout, $value, $kind) = split /\t/;
        next if $kind ne 'bare' || !$node->rpc('gettxout', $txid, 0 + $vout);
        return unpack 'H*', pack('L<C', 2, 1)
            . reverse(pack 'H*', $txid) . pack('L<C L<', $vout, 0,
            0xffffffff) . ($n < 253 ? pack 'C', $n : pack 'C S<', 0xfd, $n)
            . $outs . pack('L<', 0);
    }
    die "no output to spend\n";
}

# CPU time of the worker so far, ms.
sub worker_ms {
    my ($pid) = $t->worker_pids;
    my ($ns) = split ' ', $t->read_file("/proc/$pid/schedstat");
    return $ns / 1e6;
}

# Tells when the first and the last were told, ms after the commit, and the
# worker's CPU time.
sub block {
    my ($n) = @_;
    my $hex = touching_tx($n);
    my $height = $node->height + 1;
    my $cpu = worker_ms();
    my $r;
    idle_say('mark');
    $node->rpc('generateblock', $ElectrumX::Node::ANYONE, [$hex]);
    $t->wait_for(sub { $r = idle_say('stat'); $r->{notified} >= $n }, 20,
        'notifications');
    $cpu = worker_ms() - $cpu;
    my $status = JSON::PP->new->decode(($t->http_get('/status'))[1]);
    die "height\n" if $status->{height} != $height;
    return [$r->{last_ms} - $status->{changed},
        $r->{first_ms} - $status->{changed}, $cpu];
}

sub block_and_reload {
    my $n = $o{idle} < 1000 ? $o{idle} : 1000;
    my ($b) = sort { $a->[0] <=> $b->[0] }
        map { block($n) } 1 .. $o{repeat};
    printf "a block touches %d of them: last told %.0f ms (first %.0f) after "
        . "the commit (target 50); worker's CPU %.0f ms\n", $n, @$b;
    idle_say('mark');
    my $start = time;
    $t->proc('nginx')->signal('HUP');
    my $r = idle_up($o{idle});
    printf "reload: all back and subscribed after %.1f s (target 10)\n",
        $r->{change_ms} / 1000 - $start;
}

start_all();
table() if $only{table};
workers() if $only{workers};
memory() if $only{memory};
$_->stop for reverse @{ $t->{all} };
exit $failed;
