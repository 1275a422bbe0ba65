#!/usr/bin/perl

# The initial sync as an operator sees it: generates a chain, loads it into a
# real bitcoind without txindex, runs the real indexer from an empty directory
# until it is caught up and serves, and prints time, CPU, memory and disk.
#
#   make bench-sync                       # all of it: 5 and 10 million txs
#   make bench-sync BENCH_SYNC='--txs 200000 --parts files,rest'
#   t/bench/sync.pl --dir DIR --keep      # keeps chain and node for next time
#
# The parts with a number run under RLIMIT_DATA of that many MB: what exceeds it
# fails.
#
#   --txs N         transactions of the chain [5000000]
#   --parts LIST    of: files rest rpc spender memory512 memory128 double [all]
#   --runs N        each part so often; the quickest counts [1]
#   --dir DIR       chains, nodes and indexes [a new directory below TMPDIR]
#   --keep          leaves chains and nodes in DIR; they are used again
#   --build DIR     where the programs are [build]
#   --nodes DIR     where bin/bitcoind is [BUILD/nodes]
#
# Takes 25 GB of disk at 5 million transactions with "double", 7 GB without;
# loading the chain into the node takes longest.  Exit status: 0 when each sync
# worked; figures that miss their targets are marked, and are no failure.

use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../lib";
use Cwd ();
use ElectrumX::Proc;
use File::Find ();
use File::Path ();
use File::Temp ();
use Getopt::Long;
use IO::Socket::INET;
use JSON::PP ();
use MIME::Base64 ();
use POSIX ();
use Time::HiRes qw(sleep time);

my @PARTS = qw(files rest rpc spender memory512 memory128 double);
my %o = (txs => 5_000_000, parts => join(',', @PARTS), runs => 1,
    build => "$FindBin::Bin/../../build");
GetOptions(\%o, qw(txs=i parts=s runs=i dir=s keep build=s nodes=s))
    && !@ARGV or die "see the head of $0\n";
my %known = map { $_ => 1 } @PARTS;
my %part = map { $known{$_} ? ($_ => 1) : die "no part $_\n" }
    split /,/, $o{parts};
$o{build} = Cwd::abs_path($o{build}) // die "no directory $o{build}\n";
$o{nodes} = Cwd::abs_path($o{nodes} // "$o{build}/nodes");
$o{dir} = defined $o{dir} ? (File::Path::make_path($o{dir}), $o{dir})[-1]
    : File::Temp::tempdir('electrumx-sync.XXXXXX', TMPDIR => 1,
        CLEANUP => !$o{keep});
$o{dir} = Cwd::abs_path($o{dir});
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);
$SIG{PIPE} = 'IGNORE';
$| = 1;

my $HZ = POSIX::sysconf(POSIX::_SC_CLK_TCK());
my %runs;       # part -> figures

say_machine();
my $node = load_node($o{txs});
for (grep { $part{$_} && $_ ne 'double' } @PARTS) {
    $runs{$_} = best_of($node, $_);
}
if ($part{double}) {
    $runs{files} //= best_of($node, 'files');
    stop_node($node);
    my $two = load_node(2 * $o{txs});
    $runs{double} = best_of($two, 'double');
    stop_node($two);
} else {
    stop_node($node);
}
print_runs();
print_phases();
print_targets();
exit 0;

# ---- machine, chain, node --------------------------------------------------

sub slurp {
    my ($path) = @_;
    open my $f, '<', $path or return;
    local $/;
    return scalar <$f>;
}

sub say_machine {
    my $cpu = slurp('/proc/cpuinfo') // '';
    my ($model) = $cpu =~ /^model name\s*:\s*(.*)$/m;
    my $n = () = $cpu =~ /^processor\s*:/mg;
    my ($flags) = $cpu =~ /^flags\s*:(.*)$/m;
    my ($mem) = (slurp('/proc/meminfo') // '') =~ /^MemTotal:\s*(\d+)/m;
    my ($load) = (slurp('/proc/loadavg') // '') =~ /^(\S+ \S+)/;
    printf "machine: %d cores, %s%s, %.0f GB of memory, load before it %s\n",
        $n, $model // '?', ($flags // '') =~ /\bsha_ni\b/ ? ' (SHA-NI)' : '',
        ($mem // 0) / 1e6, $load // '?';
}

sub run_program {
    my ($what, @cmd) = @_;
    my $from = time;
    my ($out, $status) = ElectrumX::Proc->run(cmd => \@cmd, timeout => 7200);
    die "$what: status $status\n$out\n" if $status != 0;
    printf "%s: %.1f s\n", $what, time - $from;
}

# Blocks of about 1,250 transactions, and enough of them that all are indexed
# at once.
sub chain_file {
    my ($txs) = @_;
    my $blocks = int($txs / 1250);
    $blocks = 2200 if $blocks < 2200;
    my $file = "$o{dir}/chain-$txs.dat";
    if (!-e "$file.json") {
        run_program("chain of $txs transactions made", "$o{build}/bench/chaingen",
            '--out', $file, '--blocks', $blocks, '--txs-per-block',
            $txs / $blocks, '--end-time', 1700000000);
    }
    return ($file, JSON::PP::decode_json(slurp("$file.json")));
}

sub free_port {
    my $s = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1')
        or die "no port: $!\n";
    return $s->sockport;
}

sub start_node {
    my ($n, @more) = @_;
    $n->{proc} = ElectrumX::Proc->start(name => 'node', death => 'KILL',
        log => "$o{dir}/node.log", cmd => ["$o{nodes}/bin/bitcoind",
            '-regtest', "-datadir=$n->{dir}", "-rpcport=$n->{port}",
            qw(-rpcbind=127.0.0.1 -rpcallowip=127.0.0.1 -server=1 -rest=1
            -listen=0 -connect=0 -dnsseed=0 -txindex=0 -printtoconsole=0
            -rpcthreads=8 -rpcworkqueue=128 -checkblockindex=0
            -maxtipage=1000000000), @more]);
}

sub node_height {
    my ($n) = @_;
    die "the node ended, see $o{dir}/node.log\n" if !$n->{proc}->running;
    my $cookie = slurp("$n->{dir}/regtest/.cookie") // return -1;
    my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$n->{port}",
        Timeout => 5) or return -1;
    my $body = '{"method":"getblockcount","params":[],"id":1}';
    print $s "POST / HTTP/1.0\r\nAuthorization: Basic ",
        MIME::Base64::encode_base64($cookie, ''), "\r\nContent-Length: ",
        length $body, "\r\n\r\n", $body;
    my $answer = do { local $/; <$s> } // '';
    return $answer =~ /"result":(\d+)/ ? $1 : -1;
}

sub wait_height {
    my ($n, $height) = @_;
    sleep 0.2 while node_height($n) < $height;
}

# A node that has the chain; a directory loaded before is used again.
sub load_node {
    my ($txs) = @_;
    my ($file, $chain) = chain_file($txs);
    my $n = { dir => "$o{dir}/node-$txs", port => free_port(), txs => $txs,
        chain => $chain };
    if (!-e "$n->{dir}/loaded") {
        File::Path::remove_tree($n->{dir});
        mkdir $n->{dir} or die "$n->{dir}: $!\n";
        my $from = time;
        start_node($n, '-dbcache=2000', "-loadblock=$file");
        wait_height($n, $chain->{height});
        $n->{proc}->stop;
        open my $f, '>', "$n->{dir}/loaded" or die "$n->{dir}/loaded: $!\n";
        printf "loaded into bitcoind: %.1f s\n", time - $from;
    }
    unlink $file if !$o{keep};
    start_node($n, qw(-dbcache=100));
    wait_height($n, $chain->{height});
    return $n;
}

sub stop_node {
    my ($n) = @_;
    $n->{proc}->stop;
    File::Path::remove_tree($n->{dir}) if !$o{keep};
}

# ---- one sync --------------------------------------------------------------

my %setting;

sub settings {
    my ($name) = @_;
    %setting = (
        rest => [block_source => 'rest'],
        rpc => [block_source => 'rpc'],
        spender => [block_source => 'files', spender => 'on'],
        memory512 => [block_source => 'files', memory_mb => 512],
        memory128 => [block_source => 'files', memory_mb => 128],
    ) if !%setting;
    return @{ $setting{$name} // [block_source => 'files'] };
}

# CPU seconds of a process (user, system).
sub cpu_of {
    my ($pid) = @_;
    my $stat = slurp("/proc/$pid/stat") // return (0, 0);
    $stat =~ s/^.*\) //s;
    my @f = split ' ', $stat;
    return ($f[11] / $HZ, $f[12] / $HZ);
}

# MB of a process: VmHWM (most ever, with what it maps of files) or RssAnon
# (its own, now).
sub memory_of {
    my ($pid, $what) = @_;
    my ($kb) = (slurp("/proc/$pid/status") // '') =~ /^$what:\s*(\d+)/m;
    return ($kb // 0) / 1024;
}

# Bytes on disk below a directory, hard links once.
sub disk_of {
    my ($dir, $only) = @_;
    my (%seen, $sum);
    $sum = 0;
    no warnings 'File::Find';    # directories go away meanwhile
    File::Find::find({ no_chdir => 1, wanted => sub {
        return if defined $only && $_ !~ $only;
        my @st = lstat $_ or return;
        $sum += $st[12] * 512 if -f _ && !$seen{$st[1]}++;
    } }, $dir);
    return $sum;
}

sub status_of {
    my ($data) = @_;
    my $text = slurp("$data/status.json") // return {};
    return eval { JSON::PP::decode_json($text) } // {};
}

# Transactions of the newest generation.
sub settled_txs {
    my ($data) = @_;
    my @all = sort glob "$data/generations/*/manifest";
    my ($n) = (slurp($all[-1]) // '') =~ /^tx_count (\d+)/m;
    return $n;
}

sub sync_once {
    my ($n, $name) = @_;
    my $data = "$o{dir}/index";
    my $log = "$o{dir}/indexer.log";
    my %set = settings($name);
    File::Path::remove_tree($data);
    unlink $log;
    mkdir $data or die "$data: $!\n";
    my @node = cpu_of($n->{proc}->pid);
    my $from = time;
    my $p = ElectrumX::Proc->start(name => 'indexer', log => $log,
        data => ($set{memory_mb} // 0) << 20, cmd => [
        "$o{build}/electrumx-indexer", '--network', 'regtest', '--data-dir',
        $data, '--daemon-url', "http://127.0.0.1:$n->{port}",
        '--daemon-cookie', "$n->{dir}/regtest/.cookie", '--blocks-dir',
        "$n->{dir}/regtest/blocks", '--log-level', 'debug', map {
            (my $k = $_) =~ tr/_/-/;
            ("--$k", $set{$_}) } sort keys %set]);
    my ($peak, $ready, $looked, $anon) = (0, 0, $from, 0);
    while (!$ready) {
        sleep 0.02;
        my $now = memory_of($p->pid, 'RssAnon');
        $anon = $now if $now > $anon;
        die "the indexer ended:\n" . (slurp($log) // '') if !$p->running;
        my $s = status_of($data);
        $ready = ($s->{state} // '') eq 'ready'
            && $s->{height} == $n->{chain}{height};
        if (time - $looked > 0.5) {
            my $now = disk_of($data);
            $peak = $now if $now > $peak;
            $looked = time;
        }
    }
    my %r = (name => $name, wall => time - $from, txs => $n->{txs},
        load => (split ' ', slurp('/proc/loadavg') // '?')[0]);
    @r{qw(user sys)} = cpu_of($p->pid);
    my @after = cpu_of($n->{proc}->pid);
    $r{node} = $after[0] + $after[1] - $node[0] - $node[1];
    $r{rss} = memory_of($p->pid, 'VmHWM');
    $r{anon} = $anon;
    $r{memory} = $set{memory_mb} // 2048;
    $r{index} = disk_of($data, qr{/(settled|generations)/});
    $r{settled} = settled_txs($data);
    $r{peak} = $peak;
    $p->stop;
    my $text = slurp($log);
    ($r{temp}) = $text =~ /temporary files took ([\d.]+) MB/
        or die "no initial sync at once in $log\n";
    $r{phase}{$1} = [$2, $3]
        while $text =~ /debug sync: (\w+): ([\d.]+) s, ([\d.]+) s of CPU/g;
    File::Path::remove_tree($data);
    return \%r;
}

sub best_of {
    my ($n, $name) = @_;
    my $best;
    for (1 .. $o{runs}) {
        my $r = sync_once($n, $name);
        printf "%s: %.1f s, CPU %.1f + %.1f s, memory %.0f MB, load %s\n",
            $name, @$r{qw(wall user sys)}, $r->{anon}, $r->{load};
        $best = $r if !$best || $r->{wall} < $best->{wall};
    }
    return $best;
}

# ---- figures ---------------------------------------------------------------

sub ordered { return map { $runs{$_} // () } @PARTS }

sub print_runs {
    print "\n| part | wall s | tx/s | CPU s (user + sys) | CPU s per million"
        . " tx | peak memory MB | with mapped files MB | temporary files, bytes a tx | most disk MB"
        . " | index, bytes a settled tx | node's CPU s | load |\n"
        . '|---' x 12 . "|\n";
    for my $r (ordered()) {
        printf "| %s | %.1f | %d | %.1f + %.1f | %.2f | %.0f | %.0f | %.0f | %.0f"
            . " | %.1f | %.1f | %s |\n", $r->{name}, $r->{wall},
            $r->{txs} / $r->{wall}, $r->{user}, $r->{sys},
            ($r->{user} + $r->{sys}) / $r->{txs} * 1e6, $r->{anon}, $r->{rss},
            $r->{temp} * 1e6 / $r->{settled}, $r->{peak} / 1e6,
            $r->{index} / $r->{settled}, $r->{node}, $r->{load};
    }
}

# What is in no phase: hashes, publishing, recent blocks, mempool.
sub print_phases {
    my @names = qw(reading joining transactions scripts linking);
    print "\nCPU s per million transactions (wall s) by phase:\n\n| part | ",
        join(' | ', @names, 'rest'), " |\n", '|---' x (@names + 2), "|\n";
    for my $r (ordered()) {
        my ($cpu, $wall) = ($r->{user} + $r->{sys}, $r->{wall});
        my @cells;
        for (@names) {
            my ($w, $c) = @{ $r->{phase}{$_} // [0, 0] };
            push @cells, sprintf '%.2f (%.1f)', $c / $r->{txs} * 1e6, $w;
            $cpu -= $c;
            $wall -= $w;
        }
        printf "| %s | %s | %.2f (%.1f) |\n", $r->{name},
            join(' | ', @cells), $cpu / $r->{txs} * 1e6, $wall;
    }
}

sub target {
    my ($what, $figure, $limit, $good) = @_;
    printf "| %s | %s | %s | %s |\n", $what, $limit, $figure,
        $good ? 'met' : 'MISSED';
}

sub print_targets {
    print "\n| must show | target | figure | |\n|---|---|---|---|\n";
    for (['files', 200_000], ['rest', 120_000]) {
        my $r = $runs{ $_->[0] } // next;
        my $rate = $r->{txs} / $r->{wall};
        target("$_->[0]: transactions a second", int $rate,
            "at least $_->[1]", $rate >= $_->[1]);
    }
    for my $r (ordered()) {
        target("$r->{name}: peak memory, MB", int $r->{anon},
            "at most $r->{memory}", $r->{anon} <= $r->{memory});
    }
    for (['files', 110], ['spender', 126]) {
        my $r = $runs{ $_->[0] } // next;
        my $bytes = sprintf '%.1f', $r->{index} / $r->{settled};
        target("$_->[0]: index, bytes a transaction", $bytes,
            "at most $_->[1]", $bytes <= $_->[1]);
    }
    for (['memory512', 1.5, 'times the time with 2048 MB'],
        ['double', 2.1, 'times the time of half the chain']) {
        my $r = $runs{ $_->[0] };
        next if !$r || !$runs{files};
        my $x = sprintf '%.2f', $r->{wall} / $runs{files}{wall};
        target("$_->[0]: $_->[2]", $x, "at most $_->[1]", $x <= $_->[1]);
    }
}
