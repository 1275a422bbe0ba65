#!/usr/bin/perl

# Notifications: blocks, transactions coming in, confirmed, replaced, evicted,
# reorganisations of 1 and 50 blocks.  Two clients (TCP, WebSocket) watch all
# scripts; after each event what they were told is compared with the model:
# told of each script that changed, of no other, header first, and the last
# status is the one of the history that is served.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Watch;
use Time::HiRes qw(time);

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $s = ElectrumX::Scenario->new($t, seed => 510);
my ($node, $coins) = @$s{qw(node coins)};
$s->base;
$node->generate(60);
$s->grow(20);
$s->serve(indexer => { live_window => 100 }, nginx => { workers => 2 });

my %client = (tcp => $t->client('tcp'), ws => $t->client('ws'));
$client{tcp}->version('1.4.2');
$client{ws}->version('1.6');
my $before = $s->settled($client{tcp});
my @scripts = sort map { ElectrumX::Tx::scripthash($_) }
    keys %{ $coins->{kind} };
my %watch = map { $_ => ElectrumX::Watch->new($client{$_}, $before, @scripts) }
    sort keys %client;
note scalar(@scripts), ' scripts watched';

subtest 'an empty block' => sub {
    $node->generate(1);
    event();
};

my ($parent, $child);
subtest 'a transaction comes in' => sub {
    $coins->{height} = $node->height;
    my $coin = $coins->take(min => 1e6, confirmed => 1, kind => 'p2wpkh')
        or die;
    $parent = $coins->make([$coin], [[$coins->script('shtrue', 1), 400_000],
        [$coins->script('p2tr', 2), $coin->{value} - 401_000]]);
    $node->send($parent->{hex});
    event(told => [$coins->script('shtrue', 1), $coin->{script}]);
};

subtest 'another spends it unconfirmed: height -1' => sub {
    $child = $coins->make([$parent->{coins}[0]],
        [[$coins->script('wshtrue', 7), 399_000]]);
    $node->send($child->{hex});
    my $p = event(told => [$coins->script('wshtrue', 7)]);
    is($p->{pool}{ $child->{txid} }{height}, -1, 'height -1');
};

subtest 'the first is confirmed: the second changes from -1 to 0' => sub {
    $node->generate_block([$parent->{txid}]);
    my $p = event(told => [$coins->script('wshtrue', 7)]);
    is($p->{pool}{ $child->{txid} }{height}, 0, 'height 0');
};

subtest 'the second is confirmed' => sub {
    $node->generate_block([$child->{txid}]);
    event(told => [$coins->script('wshtrue', 7)]);
};

subtest 'replaced by fee' => sub {
    my $coin = confirmed_coin();
    my $old = $coins->make([$coin],
        [[$coins->script('drop', 100), $coin->{value} - 1000]]);
    my $next = $coins->make($old->{coins},
        [[$coins->script('drop', 101), $coin->{value} - 2000]]);
    $node->send($_->{hex}) for $old, $next;
    event(told => [map { $coins->script('drop', $_) } 100, 101]);
    my $new = $coins->make([$coin],
        [[$coins->script('drop', 102), $coin->{value} - 90_000]]);
    $node->send($new->{hex});
    my $p = event(told => [map { $coins->script('drop', $_) } 100 .. 102]);
    ok(!$p->has_tx($old->{txid}), 'the old one is gone');
};

subtest 'a block confirms a double spend of the mempool' => sub {
    my $coin = confirmed_coin();
    my ($seen, $mined) = map { $coins->make([$coin],
        [[$coins->script('drop', $_), $coin->{value} - 1000]]) } 110, 111;
    my $next = $coins->make($seen->{coins},
        [[$coins->script('drop', 112), $coin->{value} - 2000]]);
    $node->send($_->{hex}) for $seen, $next;
    event();
    $node->generate_block([$mined->{hex}]);
    my $p = event(told => [map { $coins->script('drop', $_) } 110 .. 112]);
    ok(!$p->has_tx($seen->{txid}), 'the one seen first is gone');
};

subtest 'chains of 25, then a block of the mempool' => sub {
    $s->fill_mempool(20);
    event(seconds => 20);
    $node->generate(1);
    event(seconds => 20);
};

subtest 'a reorganisation of 1 block' => sub {
    $s->rescan;
    $s->grow(1, exactly => 6, standard => 1);
    event();
    $node->reorg(1);
    event(seconds => 20, loose => 1);
};

subtest 'evicted: two weeks later' => sub {
    $s->fill_mempool(5);
    event();
    $node->rpc('setmocktime', int(time) + 15 * 86400);
    my $coin = confirmed_coin();
    my $new = $coins->make([$coin],
        [[$coins->script('drop', 120), $coin->{value} - 50_000]]);
    $node->send($new->{hex});
    my $p = event(seconds => 20);
    is(scalar(my @pool = $p->mempool_txids), 1, 'one transaction left');
    $node->rpc('setmocktime', 0);
    $node->generate(1);
    event();
};

subtest 'a reorganisation of 50 blocks' => sub {
    # Coinbases so old that they can be spent 50 blocks earlier too.
    $s->grow(50, max => 4, standard => 1, age => 155);
    my $p = event(seconds => 30);
    my @undone = map { $p->raw($_) } map { my @all = $p->txids($_);
        @all[1 .. $#all] } $p->{height} - 49 .. $p->{height};
    $node->reorg(50);    # the node puts back those of the first ten only
    $node->try('sendrawtransaction', $_, 0, '21000000') for @undone;
    $p = event(seconds => 40, loose => 1);
    cmp_ok(scalar(my @pool = $p->mempool_txids), '>', 20,
        'transactions are back in the mempool');
    $node->generate(1);
    event(seconds => 30);
};

subtest 'unsubscribed' => sub {
    my $sh = ElectrumX::Tx::scripthash($coins->script('drop', 130));
    my $c = $client{tcp};
    my $method = 'blockchain.scripthash.unsubscribe';
    ok($c->call($method, $sh), 'true the first time');
    ok(!$c->call($method, $sh), 'false the second time');
    my $coin = confirmed_coin();
    $node->send($coins->make([$coin],
        [[$coins->script('drop', 130), $coin->{value} - 1000]])->{hex});
    my $w = $watch{tcp};
    $w->{sh} = [grep { $_ ne $sh } @{ $w->{sh} }];
    event(except => $sh);
    my %told = $w->told;
    ok(!$told{$sh}, 'not told any more');
};

$t->done;

sub confirmed_coin {
    $coins->{height} = $node->height;
    $s->rescan;
    return $coins->take(min => 1e6, confirmed => 1, kind => 'true')
        // die 'no coin';
}

# After something happened: waits until both clients have been told all, then
# compares.  told: scripts that must be among them; loose: statuses on the way
# (a reorganisation that the node does block by block) are allowed.
sub event {
    my (%o) = @_;
    my $start = time;
    my $p = $s->{model}->picture;
    for my $name (sort keys %watch) {
        my $w = $watch{$name};
        ok($w->until($t, $p, $o{seconds} // 10, $name),
            "$name: told everything");
        note sprintf '%s: %.2f s', $name, time - $start;
    }
    check_told($_, $p, %o) for sort keys %watch;
    $before = $p;
    $_->forget for values %watch;
    return $p;
}

sub check_told {
    my ($name, $p, %o) = @_;
    my $w = $watch{$name};
    $w->read(0.15);
    my %told = $w->told;
    my @changed = grep { ($before->status($_) // '')
            ne ($p->status($_) // '') } @{ $w->{sh} };
    my @silent = grep { !$told{$_} } @changed;
    is("@silent", '', "$name: told of all @{[scalar @changed]} scripts");
    my @must = grep { !$told{ ElectrumX::Tx::scripthash($_) } }
        @{ $o{told} || [] };
    is(scalar @must, 0, "$name: told of the scripts of this event");
    is("@{ $w->{repeated} }", '', "$name: nothing told twice");
    if (!$o{loose}) {
        my %changed = map { $_ => 1 } @changed;
        my @extra = grep { !$changed{$_} } sort keys %told;
        is("@extra", '', "$name: told of no other script");
    }
    check_header($name, $p, $w, %o);
    check_served($name, $w, keys %told);
}

sub check_header {
    my ($name, $p, $w, %o) = @_;
    my $blocks = $p->{tip} ne $before->{tip};
    is(scalar @{ $w->{tips} } > 0, $blocks, "$name: header "
        . ($blocks ? 'told' : 'not told'));
    return if !$blocks || $o{loose} || $p->{height} != $before->{height} + 1;
    is($w->{order}[0], 'header', "$name: header first");
    is(scalar @{ $w->{tips} }, 1, "$name: one header");
}

# The status told is that of the history now served, and of the node's.
sub check_served {
    my ($name, $w, @sh) = @_;
    my @answers = $w->{client}->pipeline(
        map { ['blockchain.scripthash.get_history', $_] } @sh);
    my @bad = grep {
        my $history = $answers[$_]{result};
        (ElectrumX::Model::Picture::status_of(@$history) // '')
            ne ($w->{status}{ $sh[$_] } // '')
    } 0 .. $#sh;
    is(scalar @bad, 0, "$name: statuses are those of the histories served");
}
