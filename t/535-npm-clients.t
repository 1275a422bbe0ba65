#!/usr/bin/perl

# Electrum clients of others, as npm has them, all at the same time: what they
# hand out is compared with the model, at first, when a transaction that each
# of them sends is in the mempool, and when it is in a block.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Browser;
use ElectrumX::Scenario;
use JSON::PP ();

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind chromium npm openssl tls)]);
my $s = ElectrumX::Scenario->new($t, seed => 535, free_only => 1);
my ($node, $coins) = @$s{qw(node coins)};
my $JSON = JSON::PP->new->canonical->allow_nonref;

# Clients: name, adapter, version offered, version to be negotiated. The last
# two run in the browser.
my @clients = (
    ['mempool tcp', 'mempool', 'tcp', '1.4', '1.4'],
    ['mempool tls', 'mempool', 'tls', ['1.4', '1.6'], '1.6'],
    ['electrum-client tcp', 'old', 'tcp', '1.4', '1.4'],
    ['cash ws', 'cash', 'ws', '1.5.1', '1.5.1'],
    ['cash wss', 'cash', 'wss', '1.6.0', '1.6.0'],
    ['browser ws', 'cash', 'ws', '1.4.5', '1.4.5'],
    ['browser wss', 'cash', 'wss', '1.6', '1.6'],
);
my $jobs = prepare();
my @scripts = @{ $jobs->[0]{scripts} };
my $browser = ElectrumX::Browser->new($t);
my %told;    # client -> what it reported
start_in_node(@$jobs[0 .. 4]);
start_in_browser(@$jobs[5, 6]);

collect('sent');
my $sent = $s->{model}->picture;
my ($block) = $node->generate(1);
collect('ended');
my $mined = $s->{model}->picture;
check($_) for 0 .. $#clients;
is($t->proc('clients')->wait(10), 0, 'Node.js ended by itself');
$t->allow_exit('clients');
$t->done;

# ---- chain and jobs ---------------------------------------------------------

# Each client has a script with a past and a transaction that pays to it.
my $before;

sub prepare {
    $s->base;
    $s->grow(6);
    my $n = @clients;
    my $coin = $coins->take(coinbase => 1, kind => 'true', min => 1e8);
    my $fan = $coins->make([$coin], [
        (map { [$coins->script('drop', 60 + $_), 10_000 + $_] } 1 .. $n),
        (map { [$coins->script('true'), 500_000] } 1 .. $n)]);
    $node->generate_block([$fan->{hex}]);
    $before = $s->rescan;
    $s->serve(indexer => { live_window => 20 }, nginx => { workers => 2 });
    my @scripts = untouched($fan);
    return [map { job($_, $fan, @scripts) } 0 .. $n - 1];
}

# Scripts with a history of several entries that nobody touches later.
sub untouched {
    my ($fan) = @_;
    my %no = map { ElectrumX::Tx::scripthash($_->{script}) => 1 }
        @{ $fan->{coins} };
    my @all = grep { !$no{$_} && @{ $before->history($_) } > 1 }
        $before->scripthashes;
    return @all[0 .. 11];
}

sub job {
    my ($i, $fan, @scripts) = @_;
    my ($name, $kind, $transport, $version) = @{ $clients[$i] };
    my $n = @clients;
    my $watch = $fan->{coins}[$i]{script};
    my $tx = $coins->make([$fan->{coins}[$n + $i]], [[$watch, 20_000],
        [$coins->script('drop', 90 + $i), 470_000]]);
    return { name => $name, kind => $kind, transport => $transport,
        host => '127.0.0.1', port => $t->port($transport),
        version => $version, scripts => \@scripts, tx => $tx->{hex},
        txid => $tx->{txid}, watch => ElectrumX::Tx::scripthash($watch),
        old => $fan->{txid}, height => $before->{height} };
}

# ---- the programs -----------------------------------------------------------

# The clients' sources beside a link to the packages: Node.js looks there.
sub start_in_node {
    my @jobs = @_;
    my $packages = ElectrumX::Test::npm_dir() . '/node_modules';
    for my $file (glob "$ElectrumX::Test::ROOT/t/npm/*.mjs") {
        $t->write_file('npm/' . File::Basename::basename($file),
            $t->read_file($file));
    }
    symlink $packages, $t->path('npm/node_modules') or die "symlink: $!";
    my ($out, $status) = ElectrumX::Proc->run(timeout => 60,
        cmd => ['/usr/bin/env', 'node', "$packages/esbuild/bin/esbuild",
            $t->path('npm/page.mjs'), '--bundle', '--format=iife',
            '--outfile=' . $t->path('static/page.js')]);
    is($status, 0, 'esbuild makes a page') or diag $out;
    $t->write_file('npm/jobs.json', $JSON->encode(
        { report => $browser->url, jobs => \@jobs }));
    $t->start('clients', env => { NODE_OPTIONS => undef,
        NODE_EXTRA_CA_CERTS => $t->certificate . '.crt' },
        cmd => ['/usr/bin/env', 'node', $t->path('npm/node.mjs'),
            $t->path('npm/jobs.json')]);
}

sub start_in_browser {
    my @jobs = @_;
    $t->write_file('static/page.html', '<!DOCTYPE html><title>clients</title>'
        . '<script src="page.js"></script>');
    $browser->open('page.html', { report => $browser->url, jobs => \@jobs });
}

# Takes reports until each client has told of this step.
sub collect {
    my ($step) = @_;
    until (@clients == grep { $told{ $_->[0] }{$step} } @clients) {
        my $r = $browser->next_report(60);
        my $name = delete $r->{client};
        die "$name: $r->{failed}\n" if $r->{failed};
        $told{$name}{$_} = $r->{$_} for keys %$r;
    }
}

# ---- what they saw ----------------------------------------------------------

sub check {
    my ($i) = @_;
    my ($name, undef, undef, undef, $version) = @{ $clients[$i] };
    my ($job, $r) = ($jobs->[$i], $told{$name});
    subtest $name => sub {
        like($r->{opened}[0], qr{^ElectrumX-nginx \S+$}, 'name of the server');
        is($r->{opened}[1], $version, "version $version");
        check_chain($r->{asked}, $job, $version);
        check_scripts($r->{asked});
        check_fees($r->{asked});
        check_batch($r->{asked}{batch}) if $r->{asked}{batch};
        is($r->{asked}{status}, $before->status($job->{watch}), 'status');
        check_told($r, $job);
    };
}

sub check_chain {
    my ($asked, $job, $version) = @_;
    my $h = $before->{height};
    is_deeply($asked->{tip}, { height => $h, hex => $before->header($h) },
        'tip');
    is($asked->{features}{genesis_hash}, $node->hash_at(0), 'features');
    is($asked->{header}, $before->header($job->{height}), 'header');
    is_deeply($asked->{headers}, $before->headers(1, 20, 0,
        $version =~ /^1\.6/ ? '1.6' : '1.4'), 'headers');
    is($asked->{raw}, $before->raw($job->{old}), 'transaction');
    is_deeply($asked->{merkle}, $before->merkle($job->{old}), 'its branch');
}

sub check_scripts {
    my ($asked) = @_;
    for my $sh (@scripts) {
        is_deeply($asked->{scripts}{$sh}, { balance => $before->balance($sh),
            history => $before->history($sh),
            mempool => $before->mempool($sh),
            unspent => $before->unspent($sh) }, "script $sh");
    }
    is(scalar keys %{ $asked->{scripts} }, 12, 'all scripts');
}

sub check_fees {
    my ($asked) = @_;
    is($asked->{fee}, -1, 'no estimate of the fee');
    cmp_ok($asked->{relay}, '==',
        $node->rpc('getnetworkinfo')->{relayfee}, 'relay fee');
    is($asked->{wrong}{message}, 'unknown method "no.such.method"',
        'no such method');
}

# Batches are answered in any order; the client adds what was asked.
sub check_batch {
    my ($batch) = @_;
    my %want = (get_balance => 'balance', get_history => 'history',
        listunspent => 'unspent');
    for my $method (sort keys %want) {
        my $query = $want{$method};
        is_deeply({ map { $_->{param} => $_->{result} } @{ $batch->{$method} } },
            { map { $_ => $before->$query($_) } @scripts }, "batch: $method");
    }
}

sub check_told {
    my ($r, $job) = @_;
    my $sh = $job->{watch};
    is($r->{sent}{txid}, $job->{txid}, 'sent');
    is_deeply($r->{sent}{told}, [$sh, $sent->status($sh)],
        'told of the transaction');
    is_deeply($r->{mined}{tip}, [{ height => $mined->{height},
        hex => $mined->header($mined->{height}) }], 'told of the block');
    is_deeply($r->{mined}{told}, [$sh, $mined->status($sh)],
        'told that it is confirmed');
    isnt($sent->status($sh), $mined->status($sh), 'which changed the status');
}
