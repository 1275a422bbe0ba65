#!/usr/bin/perl

# blockchain.outpoint.* and blockchain.transaction.subscribe: every outpoint
# against the model, with and without the spender index, and each kind of
# change that is notified.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Tx qw(op_push scripthash);
use JSON::PP ();

my $O = 'blockchain.outpoint';
my $T = 'blockchain.transaction';
my $JSON = JSON::PP->new->allow_nonref->canonical;

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $s = ElectrumX::Scenario->new($t);
my ($node, $coins) = @$s{qw(node coins)};
$s->base;
$s->grow(30);
$s->fill_mempool(12);
$s->serve(indexer => { live_window => 20 }, nginx => { workers => 1 });
my $c = $t->client('tcp');
$c->version('1.7');
my $next = 0;

subtest 'all outpoints' => \&all;
subtest 'arguments' => \&arguments;
subtest 'life of an outpoint' => \&life;
subtest 'life of a transaction' => \&tx;
subtest 'unsubscribe' => \&unsubscribe;
subtest 'settled outputs' => \&settled;
subtest 'with the spender index' => \&spender_index;
$t->done;

# Status of every outpoint, from the model.
sub wanted {
    my ($p) = @_;
    my %want;
    my @txs = ((map { my $h = $_; map { [$_, $h] } $p->txids($h) }
            0 .. $p->{height}),
        map { [$_, $p->{pool}{$_}{height}] } keys %{ $p->{pool} });
    for (@txs) {
        my ($txid, $h) = @$_;
        my $tx = $p->{model}{txs}{$txid};
        $want{"$txid:$_"}{funder_height} = $h for 0 .. $#{ $tx->{vout} };
    }
    for (@txs) {
        my ($txid, $h) = @$_;
        for my $in (@{ $p->{model}{txs}{$txid}{vin} }) {
            my $w = $want{"$in->{txid}:$in->{vout}"} or next;
            @$w{qw(spender_txhash spender_height)} = ($txid, $h);
        }
    }
    return \%want;
}

sub compare {
    my ($p) = @_;
    my $want = wanted($p);
    my ($wrong, $n, %kind) = (0, 0);
    my @all = sort keys %$want;
    while (my @some = splice @all, 0, 50) {
        my $a = $c->batch(map { my @o = split /:/; $o[1] += 0;
            ["$O.get_status", @o, '51'] } @some);
        for my $i (0 .. $#some) {
            my $w = $want->{ $some[$i] };
            my $got = $a->[$i]{result};
            $kind{ !$w->{spender_txhash} ? 'unspent'
                : $w->{spender_height} < 1 ? 'spent in the mempool'
                : $w->{spender_height} < 100 ? 'spent, settled'
                : 'spent' }++;
            $n++;
            next if $JSON->encode($w) eq $JSON->encode($got // $a->[$i]);
            next if too_many($p, $some[$i], $a->[$i]{error});
            diag("$some[$i] ", $JSON->encode($w), ' ', $JSON->encode($a->[$i]))
                if $wrong++ < 5;
        }
    }
    is($wrong, 0, "$n outpoints");
    note("$_: $kind{$_}") for sort keys %kind;
    return \%kind;
}

# The spender of a settled output is looked for among 100 transactions.
sub too_many {
    my ($p, $o, $e) = @_;
    my $coin = $p->{out}{$o};
    return $e && $coin && $e->{message} =~ /^the spender is not indexed/
        && @{ $p->history($coin->{sh}) } > 100;
}

sub all {
    my $p = $s->settled($c);
    my $kind = compare($p);
    cmp_ok($kind->{$_} || 0, '>', 2, $_)
        for 'unspent', 'spent in the mempool', 'spent';
    my ($txid) = $p->txids(7);
    is_deeply($c->call("$O.get_status", @$_, ''), {}, 'there is none')
        for ['ab' x 32, 0], [$txid, 99], [$txid, 4294967295],
        [(keys %{ $p->{pool} })[0], 99];
}

sub arguments {
    my $txid = 'ab' x 32;
    for my $m ("$O.subscribe", "$O.get_status", "$O.unsubscribe") {
        for my $bad ([], [$txid], [$txid, -1], [$txid, 'x'], ['ab', 0],
            [$txid, 4294967296], [$txid, 0, 'x'], [$txid, 0, '51', 1, 2],
            { tx_hash => $txid })
        {
            next if @{ ref $bad eq 'ARRAY' ? $bad : [] } == 5;
            my $e = $c->answer($c->send_request($m, $bad))->{error};
            next if !$e && $m =~ /unsub/ && ref $bad eq 'ARRAY' && @$bad > 2;
            is($e->{code}, -32602, "$m " . $JSON->encode($bad));
        }
    }
    my $a = $c->answer($c->send_request("$O.get_status",
        { tx_hash => $txid, txout_idx => 0, spk_hint => '51' }));
    is_deeply($a->{result}, {}, 'named');
    is($c->error_of("$T.subscribe", 'x')->{code}, -32602, 'transaction');
}

sub fresh { return op_push('380 ' . $next++) . "\x75\x51" }

sub pay {
    my ($script) = @_;
    my $coin = $coins->take(min => 1e5, confirmed => 1, standard => 1,
        no_pool => 1) or die 'no coin';
    return $coins->make([$coin], [[$script, $coin->{value} - 10_000]]);
}

# A transaction that spends the only output of another.
sub spend {
    my ($tx) = @_;
    my $coin = { %{ $tx->{coins}[0] }, sig => '', sign => 0 };
    return $coins->make([$coin], [[fresh(), $coin->{value} - 10_000]]);
}

sub told {
    my ($x, $txid, $n) = @_;
    return $x->notification("$O.subscribe", 10,
        sub { $_[0][0] eq $txid && $_[0][1] == ($n // 0) })->[2];
}

sub life {
    $node->generate(1);
    $s->settled($c);
    $s->rescan;
    my $x = $t->client('ws');
    my ($tx) = pay(fresh());
    my $by = spend($tx);
    my $id = $tx->{txid};
    is_deeply($c->call("$O.subscribe", $id, 0, '51'), {}, 'nothing yet');
    is_deeply($x->call("$O.subscribe", uc $id, 0, '51'), {}, 'for both');
    is_deeply($c->call("$O.subscribe", $id, 1, '51'), {}, 'never');
    $node->send($tx->{hex});
    my $want = { funder_height => 0 };
    is_deeply(told($c, $id), $want, 'funded');
    is_deeply(told($x, uc $id), $want, 'as it was spelled');
    $node->send($by->{hex});
    my @by = (spender_txhash => $by->{txid});
    $want = { funder_height => 0, @by, spender_height => -1 };
    is_deeply(told($c, $id), $want, 'spent');
    is_deeply($c->call("$O.get_status", $id, 0, ''), $want, 'when asked');
    $node->generate_block([$tx->{hex}]);
    my $h = $node->height;
    $want = { funder_height => $h, @by, spender_height => 0 };
    is_deeply(told($c, $id), $want, 'the funding transaction confirms');
    is_deeply(told($x, uc $id), { funder_height => 0, @by,
        spender_height => -1 }, 'the other session was told, too');
    is_deeply(told($x, uc $id), $want, 'of both');
    $node->generate(1);
    $want = { funder_height => $h, @by, spender_height => $h + 1 };
    is_deeply(told($c, $id), $want, 'the spender confirms');
    is_deeply($x->call("$O.subscribe", $id, 0, ''), $want, 'again');
    $node->rpc('invalidateblock', $node->hash_at($h + 1));
    $want = { funder_height => $h, @by, spender_height => 0 };
    my $got;
    for (1 .. 3) {
        $got = told($c, $id);
        last if $JSON->encode($got) eq $JSON->encode($want);
    }
    is_deeply($got, $want, 'and is in the mempool again');
    $node->generate(1, $node->raw_descriptor(fresh()));
    is(told($c, $id)->{spender_height}, $h + 1, 'and confirms');
    ok($c->no_notification("$O.subscribe", 0.2), 'nothing else');
}

sub tx {
    $s->rescan;
    my $tx = pay(fresh());
    my $m = "$T.subscribe";
    is($c->call($m, $tx->{txid}), undef, 'unknown');
    $node->send($tx->{hex});
    is_deeply($c->notification($m, 10), [$tx->{txid}, 0], 'in the mempool');
    is($c->call($m, uc $tx->{txid}), 0, 'again');
    $node->generate(1);
    is_deeply($c->notification($m, 10), [uc $tx->{txid}, $node->height],
        'in a block');
    ok($c->call("$T.unsubscribe", $tx->{txid}), 'unsubscribe');
    ok(!$c->call("$T.unsubscribe", $tx->{txid}), 'once');
}

sub unsubscribe {
    my ($tx) = map { $_->{txid} } pay(fresh());
    my $x = $t->client('tcp');
    ok(!$x->call("$O.unsubscribe", $tx, 0), 'never subscribed');
    $x->call("$O.subscribe", $tx, $_, '') for 0 .. 300;
    ok($x->call("$O.unsubscribe", $tx, $_), 'unsubscribe') for 5, 0, 300;
    ok(!$x->call("$O.unsubscribe", $tx, 5), 'once');
    $x->abort;
    is_deeply($c->call("$O.get_status", $tx, 0, ''), {}, 'and it goes on');
}

# Spent below the live window: the spender is searched with the node's help.
sub settled {
    $node->generate(45);
    my $p = $s->settled($c);
    compare($p);
    my $want = wanted($p);
    my ($o) = sort grep { $want->{$_}{spender_txhash}
        && $want->{$_}{spender_height} < $p->{height} - 60
        && $p->{out}{$_} && @{ $p->history($p->{out}{$_}{sh}) } < 100
        } keys %$want;
    my ($txid, $n) = split /:/, $o;
    is_deeply($c->call("$O.subscribe", $txid, $n, ''), $want->{$o},
        'subscribe');
    ok($c->call("$O.unsubscribe", $txid, $n), 'unsubscribe');
    my ($u) = sort { $a->{height} <=> $b->{height} }
        grep { !$_->{spent} && !$_->{coinbase} && $coins->{kind}{$_->{script}} }
        values %{ $p->{out} };
    ok($u, 'an old unspent output') or return;
    is_deeply($c->call("$O.subscribe", $u->{txid}, $u->{vout}, ''),
        { funder_height => $u->{height} }, 'unspent');
    $s->rescan;
    my ($coin) = grep { $_->{txid} eq $u->{txid} && $_->{vout} == $u->{vout} }
        @{ $coins->{pool} };
    my $by = $coins->make([$coin], [[fresh(), $coin->{value}]]);
    $node->generate_block([$by->{hex}]);
    is_deeply(told($c, $u->{txid}, $u->{vout}),
        { funder_height => $u->{height}, spender_txhash => $by->{txid},
            spender_height => $node->height }, 'spent now');
}


# Another index: every spender is known, so nothing is refused.
sub spender_index {
    $c->call("$O.subscribe", 'ab' x 32, 0, '');
    $t->stop_indexer;
    system('rm', '-rf', $t->data);
    $t->start_indexer($node->indexer_conf, live_window => 20,
        spender => 'on');
    $t->wait_ready($node->height);
    my $p = $s->settled($c);
    my $want = wanted($p);
    my $bad = 0;
    for my $o (sort keys %$want) {
        my ($txid, $n) = split /:/, $o;
        my $a = $c->request("$O.get_status", $txid, $n + 0, '');
        $bad++ if $JSON->encode($a->{result} // $a)
            ne $JSON->encode($want->{$o});
    }
    is($bad, 0, 'all outpoints');
}
