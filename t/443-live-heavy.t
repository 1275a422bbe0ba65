#!/usr/bin/perl

# Scripts with many live rows, of blocks that are not settled and of the
# mempool: they are gathered in slices.  What is answered is what the model
# says, on every transport and in batches, one picture while more comes; who
# subscribes meanwhile is told the last status; clients that leave.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Tx qw(scripthash);
use JSON::PP ();
use Time::HiRes qw(time);

my $S = 'blockchain.scripthash';
my $JSON = JSON::PP->new->canonical->allow_nonref;
my $FEE = 1000;

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $s = ElectrumX::Scenario->new($t, free_only => 1);
my ($node, $coins) = @$s{qw(node coins)};
$node->generate(120);
$s->rescan;
# One with settled rows, one without, one that many others are heavy beside.
my ($old, $young) = map { $coins->script('wshtrue', $_) } 0, 1;
my ($old_sh, $young_sh) = map { scripthash($_) } $old, $young;
my @many = map { $coins->script('drop', $_) } 0 .. 11;
my (@fan, @spare);
chain();
$s->serve(indexer => { live_window => 20, settle_batch => 5 },
    nginx => { workers => 1, electrumx => 'max_queue 64k;' });
my $c = $t->client('tcp', timeout => 60);
$c->version('1.6');
my $p = $s->settled($c, [$old_sh, $young_sh]);

subtest 'compared with the model' => \&model;
subtest 'a batch' => \&batch;
subtest 'many scripts at once' => \&crowd;
subtest 'a client that reads slowly, while more comes' => \&slow;
subtest 'notifications' => \&notified;
subtest 'subscribing while more comes' => \&meanwhile;
subtest 'clients that leave' => \&leaving;
subtest 'a reorganisation' => \&reorg;
$t->done;

# Transactions that each spend one coin to a script.
sub pay {
    my ($script, @coins) = @_;
    return map { $coins->make([$_], [[$script, $_->{value} - $FEE]]) } @coins;
}

sub block {
    $node->generate_block([map { $_->{hex} } @_]);
}

sub chain {
    my $coin = $coins->take(coinbase => 1, kind => 'true', min => 20e8)
        or die 'no coin';
    my $true = $coins->script('true');
    my $fan = $coins->make([$coin], [map { [$true, 300_000] } 1 .. 4600]);
    block($fan);
    @fan = @{ $fan->{coins} };
    my @settled = pay($old, splice @fan, 0, 320);
    block(@settled);
    $node->generate(30);
    my @live = pay($old, splice @fan, 0, 300);
    block(@live);
    my @young = pay($young, splice @fan, 0, 350);
    block(@young[0 .. 199]);
    # what is settled is spent in a live block, and in the mempool
    my @out = map { $_->{coins}[0] } @settled;
    block(@young[200 .. 349], pay($young, splice @out, 0, 60));
    block(map { pay($_, splice @fan, 0, 260) } @many);
    my @pool = (pay($old, splice @out, 0, 60),
        pay($young, map { $_->{coins}[0] } @live[0 .. 59]));
    push @pool, pay($young, map { $_->{coins}[0] } @pool[0 .. 29]);
    $node->rpc_batch(map { ['sendrawtransaction', $_->{hex}] } @pool);
    @spare = (@out, map { $_->{coins}[0] } @live[60 .. 299]);
}

# New transactions of the old script, which stay in the mempool.
sub more {
    my ($n) = @_;
    $node->rpc_batch(map { ['sendrawtransaction', $_->{hex}] }
        pay($old, splice @spare, 0, $n));
}

sub same {
    my ($got, $want, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok($JSON->encode($got) eq $JSON->encode($want), $name)
        or diag(substr($JSON->encode($got), 0, 300));
}

sub model {
    cmp_ok(scalar @{ $p->mempool($old_sh) }, '>=', 120, 'in the mempool');
    for my $how (['tcp'], ['tls'], ['ws', 12], ['wss']) {
        my ($transport, $batch) = @$how;
        my $x = $t->client($transport, timeout => 60);
        my $cmp = ElectrumX::Compare->new(client => $x, picture => $p,
            batch => $batch);
        $cmp->scripts($old_sh, $young_sh,
            map { scripthash($_) } @many[0, 1]);
        $cmp->ok($transport);
    }
    for my $sh ($old_sh, $young_sh) {
        is($c->call("$S.get_status", $sh), $p->status($sh), 'status');
        is($c->call("$S.get_first_use", $sh)->{tx_hash},
            $p->history($sh)->[0]{tx_hash}, 'first use');
    }
    my $all = $p->history($old_sh);
    for ([0, 130], [130, -1], [150, 155], [$p->{height}, -1]) {
        my ($from, $to) = @$_;
        my @want = grep { $_->{height} <= 0 ? $to < 0
            : $_->{height} >= $from && ($to < 0 || $_->{height} < $to) } @$all;
        same($c->call("$S.get_history", $old_sh, $from, $to), \@want,
            "$from to $to: " . @want);
    }
}

# All of it is gathered once, and all members are of one picture.
sub batch {
    my $x = $t->client('tcp', timeout => 60);
    my @ask = map { my $sh = $_; map { ["$S.$_", $sh] } qw(get_balance
        get_status get_mempool listunspent) } ($old_sh, $young_sh) x 15;
    my $id = 1;
    my @want = map { $JSON->encode(answer($p, @$_)) } @ask;
    $x->send_text($JSON->encode([map { { id => $id++, method => $_->[0],
        params => [$_->[1]] } } @ask]));
    my $got = $JSON->decode($x->read_text);
    is(scalar @$got, scalar @ask, 'all are answered');
    my %got = map { $_->{id} => $_ } @$got;
    my @bad = grep { $JSON->encode($got{ $_ + 1 }{result}) ne $want[$_] }
        0 .. $#ask;
    is(scalar @bad, 0, 'and right')
        or diag("$ask[$bad[0]][0]: "
            . substr($JSON->encode($got{ $bad[0] + 1 }), 0, 300));
}

sub answer {
    my ($picture, $method, $sh) = @_;
    my ($name) = $method =~ /(\w+)$/;
    return $picture->balance($sh) if $name eq 'get_balance';
    return $picture->status($sh) if $name eq 'get_status';
    return $picture->mempool($sh) if $name eq 'get_mempool';
    return $picture->unspent($sh);
}

# More than are gathered at a time.
sub crowd {
    my @x = map { $t->client((qw(tcp ws))[$_ % 2], timeout => 60) } 1 .. 24;
    my (@ids, $bad);
    for my $i (0 .. $#x) {
        my $sh = scripthash($many[$i % @many]);
        push @ids, [map { [$_, $sh, $x[$i]->send_request($_, [$sh])] }
            "$S.get_balance", "$S.get_status", "$S.listunspent"];
    }
    for my $i (0 .. $#x) {
        for (@{ $ids[$i] }) {
            my ($method, $sh, $id) = @$_;
            my $got = $x[$i]->answer($id)->{result};
            $bad++ if $JSON->encode($got)
                ne $JSON->encode(answer($p, $method, $sh));
        }
    }
    is($bad, undef, 'all answers are right');
}

sub slow {
    for my $transport (qw(tcp ws)) {
        my $x = $t->client($transport, timeout => 60, rcvbuf => 16384);
        my $id = $x->send_request("$S.get_history", [$old_sh]);
        $t->wait_for(sub { $x->_fill(0.1) }, 20, 'first bytes');
        my $before = $p->history($old_sh);
        more(3);
        $p = $s->settled($c, [$old_sh]);
        same($x->answer($id)->{result}, $before,
            "$transport: the history when it was asked for");
        same($x->call("$S.get_history", $old_sh), $p->history($old_sh),
            'the next is of that moment');
    }
}

# Waits until each has been told what the model says last.
sub told {
    my ($status, @x) = @_;
    my $want = $p->status($old_sh);
    for my $i (0 .. $#x) {
        $t->wait_for(sub {
            $x[$i]->pump(0.05);
            $status->[$i] = $_->{params}[1] for grep {
                $_->{method} eq "$S.subscribe" } $x[$i]->notifications;
            return $status->[$i] eq $want;
        }, 20, 'the last status');
        is($status->[$i], $want, 'told the last status');
    }
}

sub notified {
    my @x = map { $t->client($_, timeout => 60) } qw(tcp ws tls);
    my @status = map { $_->call("$S.subscribe", $old_sh) } @x;
    is($_, $p->status($old_sh), 'subscribed') for @status;
    for (1 .. 3) {
        more(2);
        $p = $s->settled($c, [$old_sh]);
        told(\@status, @x);
    }
    $node->generate(1);
    $p = $s->settled($c, [$old_sh]);
    told(\@status, @x);
}

# Between the snapshot of a status and the subscription nothing may be lost.
sub meanwhile {
    my (@x, @status);
    for my $round (1 .. 12) {
        my @new = map { $t->client('tcp', timeout => 60) } 1 .. 3;
        my @ids = map { $_->send_request("$S.subscribe", [$old_sh]) } @new;
        more(1);
        for my $i (0 .. $#new) {
            push @status, $new[$i]->answer($ids[$i])->{result};
            push @x, $new[$i];
        }
    }
    $p = $s->settled($c, [$old_sh]);
    told(\@status, @x);
}

sub leaving {
    for my $round (1 .. 5) {
        my @x = map { $t->client($_, timeout => 60) } qw(tcp ws tls wss);
        for my $x (@x) {
            $x->send_request("$S.$_", [$old_sh]) for qw(get_history
                listunspent get_balance subscribe get_status);
            $x->send_request("$S.get_balance", [scripthash($_)]) for @many;
        }
        $_->abort for @x;
        more(1);
        my $y = $t->client('tcp', timeout => 60);
        ok(ref $y->call("$S.get_balance", $old_sh), 'others are served');
        $p = $s->settled($c, [$old_sh]);
        same($y->call("$S.get_balance", $old_sh), $p->balance($old_sh),
            'and right');
    }
}

sub reorg {
    my $x = $t->client('ws', timeout => 60);
    my @status = $x->call("$S.subscribe", $old_sh);
    $node->rpc('invalidateblock', $node->hash_at($node->height - 2));
    $node->generate(4);
    $p = $s->settled($c, [$old_sh, $young_sh]);
    told(\@status, $x);
    my $cmp = ElectrumX::Compare->new(client => $x, picture => $p);
    $cmp->scripts($old_sh, $young_sh);
    $cmp->ok('afterwards');
}
