#!/usr/bin/perl
# What a request costs the server, and a connection: the table of
# docs/performance.md, "Serving", and each figure beside its target.
#
#   make bench-serve                       # or:
#   perl -It/lib -It/bench t/bench/serve.pl [--dir build/bench/serve]
#       [--txs 5000000] [--seconds 3] [--repeat 3] [--idle 10000]
#       [--only table,workers,memory,block,cold,after]
#       [--transport tcp0|ws0|tls0|wss0|tcp10]    (of the idle connections)
#       [--after 1000] [--portion 10]     (blocks that "after" settles; at once)
#       [--look-ups 10000]                (of "cold")
#
#   ... --hold           # serves until the end of stdin, the node has a txindex
#   ... --peer HOST:PORT --peer-pid PID[,PID ...]
#
# Makes a chain (chaingen), lets a node load it and the indexer settle it, and
# asks nginx; the directory is kept, so that the next run begins at once (remove
# it to begin anew).  CPU time is that of worker and indexer together, from
# /proc; an answer that is not a result ends the run with 1, a missed target
# does not.
#
#   table    each kind of request: random, always the same one, over WebSocket
#   workers  two of them
#   memory   idle connections; block: one that touches 1,000 of them, a reload
#   cold     after the index was dropped from the page cache (root is not needed)
#   after    1,000 more blocks come and are settled, then the table again.  Node
#            and index are put back at the end, so that it can be repeated.
#
# --peer starts nothing: the same requests to another server, which has indexed
# the chain of --dir, its CPU time that of the processes named.  Its node can be
# the one that --hold keeps running.
use strict;
use warnings;
use Getopt::Long;
use IO::Handle;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep time);
use Figures;
use ElectrumX::Test;
use ElectrumX::Node;
use ElectrumX::Tx ();

my @PARTS = qw(table workers memory block cold after);
# pipeline: so many that the worker always has something to do; with 100 one
# core waits for the other, and half of what is measured is the kernel waking
# them up.
my %o = (pipeline => 1000, txs => 5_000_000, repeat => 3, seconds => 3,
    idle => 10_000, warmup => 1,
    per_block => 800, after => 1000, portion => 10, 'look-ups' => 10_000,
    only => join(',', @PARTS));
GetOptions(\%o, qw(pipeline=i txs=i repeat=i dir=s seconds=f warmup=f idle=i
    per_block=i only=s
    transport=s after=i portion=i look-ups=i hold peer=s peer-pid=s))
    && !@ARGV or die "see the head of $0\n";
my $build = ElectrumX::Test::build_dir();
my $dir = $o{dir} || "$build/bench/serve";
my $blocks = 110 + int $o{txs} / $o{per_block};
my $chain = "$dir/chain.dat";
my %known = map { $_ => 1 } @PARTS;
my %only = map { $known{$_} ? ($_ => 1) : die "no part $_\n" }
    split /,/, $o{only};
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
    if (!-e "$chain.after.json" && !-e "$chain.json") {
        run_or_die("$build/bench/chaingen", '--out', $chain,
            '--blocks', $blocks + $o{after}, '--after', $o{after},
            '--txs-per-block', $o{txs} / $blocks, '--growth', 0,
            '--end-time', 1_700_000_000, '--samples', 20_000,
            '--dump-utxos', 20_000);
    }
    die "$dir is of an older version and has no blocks to settle: remove it, "
        . "or leave out \"after\" (--only)\n"
        if $only{after} && !-e "$chain.after.json";
}

# The chain as it is: "" before, ".after" with the blocks of "after".
my $now = '';

sub side {
    open my $f, '<', "$chain$now.json" or die "$chain$now.json: $!";
    local $/;
    return JSON::PP->new->decode(<$f>);
}

my $node;

sub start_node {
    my $side = side();
    my @load = -e "$dir/loaded" ? () : "-loadblock=$chain";
    $node = ElectrumX::Node->start($t, name => 'node', args => [
        '-dbcache=1000', '-maxtipage=2000000000', '-checkblockindex=0',
        "-assumevalid=$side->{tip}", '-disablewallet=1', @load,
        $o{hold} ? '-txindex=1' : ()]);
    return if !@load;
    $t->wait_for(sub { $node->height >= $side->{height} }, 3600,
        'the node loads the chain');
    unlink $chain;
    $t->write_file('loaded', "\n");
}

# Undoes the blocks that "block" has made.
sub trim {
    my $height = side()->{height};
    $node->rpc('invalidateblock', $node->hash_at($height + 1))
        if $node->height > $height;
}

sub start_indexer {
    $t->start_indexer($node->indexer_conf, log_level => 'info',
        blocks_dir => "$node->{dir}/regtest/blocks");
    $t->wait_ready($node->height, 3600);
}

sub start_all {
    make_chain();
    put_back();
    start_node();
    trim();
    start_indexer();
    quiet();
}

sub stop_all {
    $_->stop for reverse @{ $t->{all} };
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
        '--pipeline', $o{pipeline}, lists(), @more);
}

sub lists {
    return ('--height', side()->{height}, '--txs', "$chain$now.txs.tsv",
        '--scripts', "$chain$now.samples.tsv");
}

# The run with the lowest cost of several: others on the machine only add.
sub load {
    my (@args) = @_;
    return best(sub { load_once(@args) });
}

sub best {
    my ($run) = @_;
    my ($best) = sort { ($a->{cpu_us} || 9e9) <=> ($b->{cpu_us} || 9e9) }
        map { $run->() } 1 .. $o{repeat};
    return $best;
}

sub load_once {
    my ($transport, @more) = @_;
    my @pids = map { ('--pid', $_) } $t->worker_pids,
        $t->proc('indexer')->pid;
    return run_load(load_args($transport, @pids, @more));
}

sub run_load {
    my ($program, @more) = @_;
    open my $p, '-|', $program, '--seconds', $o{seconds}, '--warmup',
        $o{warmup}, @more or die "load: $!";
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

# Random ones of a row; those that need it were asked for once before.
sub random {
    my ($args) = @_;
    my @once = once($args);
    load_once('tcp', @$args, '--once') if !@once && $args->[1] ne 'ping';
    return load('tcp', @$args, @once);
}

# Each script once, so that none is subscribed to already.
# The list may be short: many under way would be most of it, uncounted.
sub once {
    my ($args) = @_;
    return $args->[1] eq 'subscribe' ? qw(--once --pipeline 100) : ();
}

my %before;    # name -> us of a random one

sub table {
    start_nginx(1, 1024);
    printf "%-24s %8s %8s %8s %6s %6s %5s %8s %10s %9s %9s\n", 'request',
        qw(random hot WS WS+% target aim Fulcrum ElectrumX req/s p99_us);
    for my $row (@table) {
        my ($name, $args, $target, $aim, @peers) = @$row;
        my $r = random($args);
        my $hot = load('tcp', @$args, '--hot');
        my $ws = load('ws', @$args, once($args));
        my $more = $ws->{cpu_us} / ($r->{cpu_us} || 1);
        printf "%-24s %8.2f %8.2f %8.2f %6.0f %6.1f %5.1f %8s %10s %9.0f "
            . "%9.0f%s\n", $name, $r->{cpu_us}, $hot->{cpu_us}, $ws->{cpu_us},
            100 * $more - 100, $target, $aim,
            @peers, $r->{rps}, $r->{p99_us},
            $r->{cpu_us} > $target ? ' *' : '';
        at_most($name, $r->{cpu_us}, $target, 'us');
        shown("$name, always the same one", $hot->{cpu_us}, 'us');
        at_most("$name, WebSocket", $more, 1.2, 'times TCP');
        $before{$name} = $r->{cpu_us};
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
    at_least('two workers', 2 * $one->{cpu_us} / ($two->{cpu_us} || 1), 1.7,
        'times one');
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
        my $what = "an idle $transport connection"
            . ($subs ? " with headers and $subs scripts" : '');
        $target ? at_most($what, $kb, $target, 'KB') : shown($what, $kb, 'KB');
        block_and_reload() if $subs && $only{block};
        idle_stop();
        trim();
        $t->wait_ready($node->height);
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
    at_most("a block that touches $n of $o{idle}: last one told", $b->[0], 50,
        'ms');
    idle_say('mark');
    my $start = time;
    $t->proc('nginx')->signal('HUP');
    my $r = idle_up($o{idle});
    my $took = $r->{change_ms} / 1000 - $start;
    printf "reload: all back and subscribed after %.1f s (target 10)\n", $took;
    at_most("reload: $o{idle} back and subscribed", $took, 10, 's');
}

# ---- nothing in the page cache ------------------------------------------------

# Nobody has the files open while they are dropped: what is mapped stays.  The
# live layer stays, too, as the indexer writes to it all the time.
sub drop_cache {
    $t->stop_nginx;
    $t->stop_indexer;
    drop();
    start_indexer();
    quiet();
    start_nginx(1, 1024);
    drop();    # what their start has read and written
}

sub drop {
    run_or_die("$build/bench/bench_cold", 'drop', $t->data . "/$_")
        for qw(settled generations);
}

# What a worker has read: ranges and bytes it asked its threads for, bytes from
# the disk.
sub reads {
    my ($pid) = $t->worker_pids;
    my $cold = JSON::PP->new->decode(($t->http_get('/status'))[1])
        ->{worker}{cold};
    my ($disk) = $t->read_file("/proc/$pid/io") =~ /^read_bytes: (\d+)/m;
    return (@$cold{qw(ranges bytes tasks)}, $disk);
}

# Another client: asks for a ping every 2 ms until it is told to end; ms that
# 99 of 100 took at most.
sub pinger {
    pipe my $r, my $w or die "pipe: $!";
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        my ($end, @ms);
        $SIG{TERM} = sub { $end = 1 };
        my $c = $t->client('tcp');
        until ($end) {
            my $at = time;
            $c->call('server.ping');
            push @ms, (time - $at) * 1000;
            sleep 0.002;
        }
        @ms = sort { $a <=> $b } @ms;
        syswrite $w, sprintf "%d %.3f\n", scalar @ms, $ms[int $#ms * 0.99];
        POSIX::_exit(0);
    }
    close $w;
    return sub {
        kill 'TERM', $pid;
        my $line = <$r>;
        waitpid $pid, 0;
        return split ' ', $line // '';
    };
}

sub cold {
    for my $kind (qw(history balance)) {
        drop_cache();
        my $pings = pinger();
        my @was = reads();
        my $r = load_once('tcp', '--kind', $kind, qw(--class 2 --once
            --pipeline 1), '--requests', $o{'look-ups'});
        my @now = reads();
        my ($n, $ping) = $pings->();
        my @each = map { ($now[$_] - $was[$_]) / ($r->{requests} || 1) } 0 .. 3;
        printf "cold get_%s: %d scripts of 2 entries, %.2f reads each (%.1f KB, "
            . "%.2f rounds; from the disk %.1f KB), CPU %.1f us, median %.0f us, "
            . "p99 %.0f us; another client's ping p99 %.2f ms (of %d)\n",
            $kind, $r->{requests}, $each[0], $each[1] / 1024, $each[2],
            $each[3] / 1024, @$r{qw(cpu_us p50_us p99_us)}, $ping // 9e9,
            $n // 0;
        at_most("cold get_$kind: reads", $each[0], 3);
        shown("cold get_$kind: median", $r->{p50_us}, 'us');
        shown("cold get_$kind: p99", $r->{p99_us}, 'us');
        at_most("cold get_$kind: another client's ping, p99", $ping, 5, 'ms');
    }
}

# ---- after 1,000 blocks ---------------------------------------------------------

# Waits until the indexer has nothing to do: three seconds with hardly any CPU
# time and bytes written.
sub quiet {
    my ($cpu, $wrote, $calm) = (0, 0, 0);
    my $pid = $t->proc('indexer')->pid;
    my $end = time + 1800;
    while ($calm < 3) {
        die "the indexer does not come to rest\n" if time > $end;
        my @was = ($cpu, $wrote);
        $cpu = 0;
        $cpu += (split ' ', $t->read_file($_) // 0)[0] / 1e6
            for glob "/proc/$pid/task/*/schedstat";
        ($wrote) = $t->read_file("/proc/$pid/io") =~ /^wchar: (\d+)/m;
        $calm = $cpu - $was[0] < 50 && $wrote - $was[1] < 1e6 ? $calm + 1 : 0;
        sleep 1;
    }
}

# Node and index as they are, put aside and back; a run that was killed in
# between is put back by the next one.
sub put_aside {
    stop_all();
    run_or_die('rm', '-rf', "$dir/before.new");
    mkdir "$dir/before.new" or die "$dir/before.new: $!";
    run_or_die(qw(cp -a --reflink=auto), "$dir/node", "$dir/data",
        "$dir/before.new");
    rename "$dir/before.new", "$dir/before" or die "$dir/before: $!";
}

sub put_back {
    return if !-d "$dir/before";
    for my $name (qw(node data)) {
        next if !-d "$dir/before/$name";
        run_or_die('rm', '-rf', "$dir/$name");
        rename "$dir/before/$name", "$dir/$name" or die "$dir/$name: $!";
    }
    rmdir "$dir/before" or die "$dir/before: $!";
}

# The blocks of --after to the node, some at a time; the next ones when the
# indexer has settled what is deep enough, as when each comes after ten minutes.
sub more_blocks {
    open my $f, '<:raw', "$chain.after" or die "$chain.after: $!";
    my ($n, $height) = (0, $node->height);
    while (read $f, my $head, 8) {
        read $f, my $raw, unpack 'x4 V', $head;
        my $why = $node->rpc('submitblock', unpack 'H*', $raw);
        die "block ", $height + 1, ": $why\n" if defined $why;
        $height++;
        next if ++$n % $o{portion} && !eof $f;
        $t->wait_for(sub {
            my $s = $t->status or return;
            return $s->{height} == $height
                && $s->{settled_height} > $height - 110;
        }, 600, "blocks up to $height settled");
    }
    return $n;
}

sub after {
    my %first = %before;
    if (!%first) {
        start_nginx(1, 1024);
        $first{ $_->[0] } = random($_->[1])->{cpu_us} for @table;
    }
    put_aside();
    start_node();
    start_indexer();
    my $start = time;
    my $blocks = more_blocks();
    my $settled = time - $start;
    quiet();
    my $was = side()->{txs};
    $now = '.after';
    my $txs = side()->{txs};
    printf "%d blocks of %.0f transactions settled after %.0f s, quiet after "
        . "%.0f s\n", $blocks, ($txs - $was) / $blocks, $settled,
        time - $start;
    start_nginx(1, 1024);
    printf "%-24s %8s %8s %6s\n", 'request', qw(before after ratio);
    for my $row (@table) {
        my ($name, $args) = @$row;
        my $us = random($args)->{cpu_us};
        my $ratio = $us / ($first{$name} || 1);
        printf "%-24s %8.2f %8.2f %6.2f\n", $name, $first{$name}, $us, $ratio;
        at_most("$name after $blocks settled blocks", $ratio, 1.5,
            'times before');
    }
    $now = '';
    stop_all();
    put_back();
}

# ---- other servers ----------------------------------------------------------

# Keeps all of it running for others.
sub hold {
    start_nginx(1, 1024);
    $t->wait_for(sub { $node->rpc('getindexinfo')->{txindex}{synced} }, 3600,
        "the node's txindex");
    my $cookie = $t->read_file($node->cookie);
    print "node: http://$cookie\@127.0.0.1:$node->{port}, height ",
        $node->height, "\nserver: 127.0.0.1:", $t->port('tcp'), ', process ',
        join(',', $t->worker_pids, $t->proc('indexer')->pid),
        "\nuntil the end of stdin\n";
    1 while <STDIN>;
}

sub peer {
    my ($host, $port) = $o{peer} =~ /^([\d.]+):(\d+)$/
        or die "--peer: an IPv4 address and a port\n";
    my @load = ("$build/bench/load", '--host', $host, '--port', $port,
        '--pipeline', $o{pipeline}, lists(),
        map { ('--pid', $_) } split /,/, $o{'peer-pid'} // '');
    printf "%-24s %10s %10s %9s %9s\n", 'request', qw(random hot req/s p99_us);
    for my $row (@table) {
        my ($name, $args) = @$row;
        my @once = once($args);
        run_load(@load, @$args, '--once') if !@once && $args->[1] ne 'ping';
        my $r = best(sub { run_load(@load, @$args, @once) });
        my $hot = best(sub { run_load(@load, @$args, '--hot') });
        printf "%-24s %10.2f %10.2f %9.0f %9.0f\n", $name,
            map { $_ // 0 } $r->{cpu_us}, $hot->{cpu_us}, @$r{qw(rps p99_us)};
    }
    exit $failed;
}

peer() if $o{peer};
start_all();
if ($o{hold}) {
    hold();
} else {
    table() if $only{table};
    workers() if $only{workers};
    memory() if $only{memory};
    cold() if $only{cold};
    after() if $only{after};
    print_figures();
}
stop_all();
exit $failed;
