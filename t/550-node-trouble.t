#!/usr/bin/perl

# A node that hangs, lies, breaks off, refuses, is busy, behind, pruned or on
# another fork: nothing busy-loops, each change of state is one line of the log,
# what is there is served meanwhile, and afterwards all is as the model says.
#
# A proxy (trouble-proxy.pl) stands between the indexer and the node and counts
# what it is asked.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use Time::HiRes qw(sleep time);

my $HEADERS = 'blockchain.headers.subscribe';
my $WATCH = 1.6;          # seconds of trouble that are looked at
my $PER_SECOND = 12;      # requests of all threads of the indexer
my %AUTH = (user => 'u', password => 'p');
my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $s = ElectrumX::Scenario->new($t, seed => 550, free_only => 1,
    node => {%AUTH});
my $node = $s->{node};
$s->base;
$s->grow(20);
my %conf = (live_window => 20, settle_batch => 5, daemon_timeout_ms => 1000,
    log_level => 'info', poll_ms => 500);
my @proxies = map { proxy($_) } 0, 1;
$t->start_indexer(%conf, daemon_url => url(0));
$t->wait_ready($node->height);
$t->start_nginx;
my $c = $t->client('tcp', timeout => 20);
$c->version('1.6');
$c->call($HEADERS);

# What is spoilt, where, and what the operator reads.
my @FAULTS = (
    ['hangs', 'hang .', qr/does not answer/],
    ['closes', 'close .', qr/does not answer/],
    ['breaks off', 'truncate .', qr/does not answer/],
    ['breaks off blocks', 'truncate block/|^getblock$', qr/does not answer/],
    ['is no JSON', 'garbage .', qr/not in JSON/],
    ['is other JSON', 'type .', qr/unexpected answer/],
    ['is other JSON, for the mempool', 'type mempool', qr/unexpected answer/],
    ['sends another block', 'genesis block/|^getblock$', qr/something else than block/],
    ['alters a transaction', 'alter block/|^getblock$',
        qr/something else than block/],
    ['wants a password', '401 .', qr/password/],
    ['forbids', '403 .', qr/403/],
    ['is too busy', '503 .', qr/busy.*Work queue/],
    ['fails', '500 .', qr/HTTP 500/],
    ['is starting', 'warmup .', qr/Loading block index/],
    ['has no block', 'notfound block/|^getblock$', qr/does not have block/],
    ['refuses all', 'refuse .', qr/Block not available/],
);
for my $f (@FAULTS) {
    subtest "the node $f->[0]" => sub { fault(@$f) };
}
subtest "long polls: $_" => \&long_polls, $_ for qw(403 type close refuse);
subtest 'slow' => \&slow;
subtest 'restarted' => \&restarted;
subtest 'at the start' => \&at_start;
subtest 'behind, then IBD again' => \&behind;
subtest 'pruned' => \&pruned;
subtest 'failover and return' => \&failover;
subtest 'one of two on another fork' => \&other_fork;
$t->done;

# ---- the proxies ------------------------------------------------------------

sub proxy {
    my ($i) = @_;
    my $p = { port => $t->port("proxy$i"), modes => $t->path("modes$i"),
        log => $t->path("requests$i") };
    $t->start("proxy$i", cmd => [$^X,
        "$ElectrumX::Test::ROOT/t/lib/ElectrumX/trouble-proxy.pl",
        $p->{port}, $node->port, $p->{modes}, $p->{log}]);
    $t->wait_for(sub { $t->_answers($p->{port}) }, 5, 'proxy');
    return $p;
}

sub url {
    return join ',', map {"http://u:p\@127.0.0.1:$proxies[$_]{port}"} @_;
}

# The lines of a mode file; none: all is well.
sub mode {
    my ($i, @lines) = @_;
    my $p = $proxies[$i];
    $t->write_file("$p->{modes}.new", join '', map {"$_\n"} @lines);
    rename "$p->{modes}.new", $p->{modes} or die "rename: $!";
}

sub asked {
    my ($i) = @_;
    my @lines = split /\n/, $t->read_file($proxies[$i]{log}) // '';
    return @lines;
}

# ---- what is looked at ------------------------------------------------------

sub log_lines {
    my @lines = split /\n/, $t->read_file('indexer.log') // '';
    return @lines;
}

sub wait_state {
    my ($state, $seconds) = @_;
    return $t->wait_for(sub { ($t->status // {})->{state} eq $state },
        $seconds // 20, "state $state");
}

# Looks for some seconds: requests and lines of the log.
sub watch {
    my ($name, %o) = @_;
    my ($log, @n) = (scalar log_lines(), map { scalar asked($_) } 0, 1);
    my $tip = $c->call($HEADERS);
    my $end = time + $WATCH;
    while (time < $end) {
        is_deeply($c->call($HEADERS), $tip, "$name: served") || last
            if !$o{moves};
        sleep 0.5;
    }
    my @said = log_lines();
    splice @said, 0, $log;
    is(join("\n", @said), '', "$name: no further line in the log")
        if !$o{moves};
    for my $i (0, 1) {
        my @now = asked($i);
        splice @now, 0, $n[$i];
        my $rate = @now / $WATCH;
        my %of;
        $of{ (split ' ')[1] }++ for @now;
        cmp_ok($rate, '<=', $o{rate} // $PER_SECOND, "$name: requests a second")
            or diag join ', ', map {"$_ $of{$_}"} sort keys %of;
    }
}

sub compare {
    my ($name) = @_;
    $t->wait_ready($node->height, 60);
    my $p = $s->settled($c);
    my $cmp = ElectrumX::Compare->new(picture => $p, client => $c,
        version => '1.6');
    my @sh = $p->scripthashes;
    $cmp->scripts(map { $sh[rand @sh] } 1 .. 20);
    $cmp->ok("$name: all is as the model says");
}

# Lines since line $from that tell a state.
sub states_since {
    my ($from) = @_;
    my @l = log_lines();
    splice @l, 0, $from;
    return grep {/\bstate: /} @l;
}

# ---- parts ------------------------------------------------------------------

sub fault {
    my ($name, $mode, $says) = @_;
    my $from = log_lines();
    mode(0, $mode);
    $s->grow(1, exactly => 3);
    wait_state('stale');
    $t->wait_for(sub { ($t->status->{message} // '') =~ $says }, 6,
        "says $says");
    sleep 1.2;    # a first and a second failure may differ
    like($t->status->{message}, $says, 'status.json says what');
    watch($name);
    my @said = states_since($from);
    cmp_ok(scalar @said, '<=', 2, 'told once, or twice if it changed')
        or diag join "\n", @said;
    mode(0);
    compare($name);
    @said = states_since($from);
    like($said[-1], qr/state: ready/, 'ready again');
    my @l = log_lines();
    my @again = grep {/starting over/} splice @l, $from;
    is("@again", '', 'nothing was begun anew');
}

# The tip watcher alone is in trouble: polling does.
sub long_polls {
    my ($mode) = @_;
    my $from = log_lines();
    mode(0, "$mode waitfornewblock");
    $s->grow(1, exactly => 1);
    compare($mode);
    watch($mode);
    mode(0);
    is(join("\n", states_since($from)), '', 'no change of state');
}

sub slow {
    my $from = log_lines();
    mode(0, 'slow .');
    $s->grow(2, exactly => 3);
    compare('slow');
    mode(0);
    is(join("\n", states_since($from)), '', 'no change of state');
}

sub restarted {
    my $from = log_lines();
    $node->stop;
    wait_state('stale');
    watch('stopped');
    delete $node->{sock};
    $node->launch;
    $node->wait_up;
    $s->grow(1);
    compare('restarted');
    my @said = states_since($from);
    cmp_ok(scalar @said, '<=', 5, 'a line for each change')
        or diag join "\n", @said;
}

# The same faults before there is anything to serve.
sub at_start {
    $t->stop_indexer;
    for my $f (['hang .', qr/does not answer/], ['garbage .', qr/not in JSON/],
        ['503 .', qr/busy/], ['genesis block/|^getblock$', qr/something else than block/],
        ['alter block/|^getblock$', qr/something else than block/],
        ['notfound block/|^getblock$', qr/does not have block/]) {
        my ($mode, $says) = @$f;
        mode(0, $mode);
        my $name = "start-" . ($mode =~ /(\w+)/)[0];
        my $data = $t->path($name);
        my $p = $t->start_indexer(%conf, daemon_url => url(0), _name => $name,
            data_dir => $data);
        $t->wait_for(sub { ($t->read_file("$data/status.json") // '')
                =~ $says }, 15, "$name says $says");
        sleep 1.2;
        my $n = split /\n/, $t->read_file("$name.log");
        my $asked = asked(0);
        sleep $WATCH;
        my $rate = (asked(0) - $asked) / $WATCH;
        cmp_ok($rate, '<=', $PER_SECOND, "$name: requests a second");
        is(scalar(split /\n/, $t->read_file("$name.log")), $n,
            "$name: no further line") or diag $t->tail("$name.log");
        mode(0);
        $t->wait_for(sub { ($t->read_file("$data/status.json") // '')
                =~ /"state":"ready"/ }, 30, "$name ready");
        is($p->stop, 0, "$name: status 0");
    }
    $t->start_indexer(%conf, daemon_url => url(0));
    compare('at the start');
}

# A node with the first $n blocks of the other.
sub copy_node {
    my ($name, $n) = @_;
    my $to = ElectrumX::Node->start($t, name => $name, %AUTH);
    feed($to, 1, $n);
    return $to;
}

sub feed {
    my ($to, $from, $until) = @_;
    for my $h ($from .. $until) {
        my $e = $to->rpc('submitblock',
            $node->rpc('getblock', $node->hash_at($h), 0));
        die "block $h: $e\n" if defined $e && $e !~ /duplicate|inconclusive/;
    }
}

sub behind {
    my $tip = $node->height;
    my $behind = copy_node('behind', $tip - 40);
    my $from = log_lines();
    mode(0, 'node ' . $behind->port);
    $t->wait_for(sub { ($t->status->{message} // '') =~ /behind/ }, 20,
        'says that it is behind');
    is($t->status->{state}, 'stale', 'stale');
    sleep 1.2;
    watch('behind');
    feed($behind, $tip - 39, $tip);
    $t->wait_ready($tip, 30);
    mode(0);
    compare('behind');
    my @said = states_since($from);
    note $_ for @said;
    my $empty = ElectrumX::Node->start($t, name => 'empty', %AUTH);
    mode(0, 'node ' . $empty->port);
    $t->wait_for(sub { ($t->status->{message} // '') =~ /behind/ }, 20,
        'IBD: says that it is behind');
    sleep 1.2;
    watch('IBD');
    feed($empty, 1, $tip);
    $t->wait_ready($tip, 30);
    mode(0);
    compare('IBD');
    $_->stop for $behind, $empty;
}

# Follows on while the blocks that it wants to settle are not to be had.
sub pruned {
    my $from = log_lines();
    my $settled = $t->status->{settled_height};
    my @old = map { $node->hash_at($_) } $settled + 1 .. $settled + 9;
    mode(0, map {"notfound block/$_"} @old);
    $s->grow(8, exactly => 2);
    $t->wait_for(sub { ($t->status->{message} // '') =~ /pruned/ }, 20,
        'says that it is pruned');
    is($t->status->{state}, 'ready', 'goes on following');
    watch('pruned', moves => 1, rate => 60);
    my @said = states_since($from);
    cmp_ok(scalar @said, '<=', 2, 'told once') or diag join "\n", @said;
    mode(0);
    $t->wait_for(sub { $t->status->{settled_height} > $settled }, 30,
        'settled when it has them');
    compare('pruned');
}

sub failover {
    $t->stop_indexer;
    mode(1);
    $t->start_indexer(%conf, daemon_url => url(0, 1));
    compare('two daemons');
    for my $f ('close .', 'hang .', 'garbage .', '503 .', '401 .',
        'genesis block/|^getblock$', 'notfound block/|^getblock$')
    {
        mode(0, $f);
        $s->grow(2, exactly => 2);
        compare("the first: $f");
        mode(0);
        mode(1, 'close .');
        $s->grow(1, exactly => 2);
        compare("the second is gone, the first is back");
        mode(1);
    }
    mode($_, 'close .') for 0, 1;
    wait_state('stale');
    sleep 1.2;
    watch('both gone');
    mode($_) for 0, 1;
    $s->grow(1);
    compare('both back');
}

# The second has a shorter chain of its own: it counts only while it is asked.
sub other_fork {
    my $n = $node->height;
    my $other = copy_node('other', $n - 5);
    $other->generate_block([], $other->descriptor('raw(027a7551)'));
    $other->generate(2);
    mode(1, 'node ' . $other->port);
    mode(0, 'close .');
    my $from = log_lines();
    $t->wait_for(sub { $c->call($HEADERS)->{height} == $other->height }, 20,
        'follows the one that answers');
    mode(0);
    mode(1, 'close .');
    compare('back on the first');
    mode(1, 'node ' . $other->port);
    $s->grow(2);
    compare('both there');
    my @l = log_lines();
    my @reorgs = grep {/reorganisation/} splice @l, $from;
    is(scalar @reorgs, 2, 'there and back, once') or diag join "\n", @reorgs;
    mode(1);
    $other->stop;
}
