#!/usr/bin/perl

# Methods that Fulcrum and others added to the specification's.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Tx qw(op_push scripthash display sha256d);
use JSON::PP ();

my $B = 'blockchain';
my $JSON = JSON::PP->new->allow_nonref->canonical;

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $s = ElectrumX::Scenario->new($t);
my ($node, $coins) = @$s{qw(node coins)};
$s->base;
$s->grow(25);
$s->fill_mempool(12);
$s->serve(indexer => { live_window => 20 }, nginx => { workers => 1 });
my $c = $t->client('tcp');
my $p = $s->settled($c);

subtest 'statuses, first uses, parts of histories' => \&scripts;
subtest 'headers' => \&headers;
subtest 'transactions' => \&transactions;
subtest 'unspent outputs' => \&utxos;
subtest 'block.stats' => \&stats;
subtest 'arguments' => \&arguments;
$t->done;

sub error {
    my (@call) = @_;
    my $e = $c->error_of(@call) || {};
    return ($e->{code} // 'none') . ' ' . ($e->{message} // '');
}

sub scripts {
    my $n = 0;
    for my $sh ($p->scripthashes, 'ab' x 32) {
        my $all = $p->history($sh);
        is($c->call("$B.scripthash.get_status", $sh), $p->status($sh),
            'status');
        my $first = $all->[0];
        my $h = $first && $first->{height} > 0 ? $first->{height} : 0;
        is_deeply($c->call("$B.scripthash.get_first_use", $sh), $first && {
            block_hash => $h ? $node->hash_at($h) : '0' x 64, height => $h,
            block_height => $h, tx_hash => $first->{tx_hash} }, 'first use');
        for my $r ([0, -1], [1, 10], [100, -1], [0, 0], [50, 130], ['0'],
            [undef, '-1'], [120], [0, 1e9], [$p->{height}, $p->{height} + 1])
        {
            my ($from, $to) = ($r->[0] || 0, $r->[1] // -1);
            my @want = grep { $_->{height} <= 0 ? $to == -1
                : $_->{height} >= $from && ($to == -1 || $_->{height} < $to) }
                @$all;
            is_deeply($c->call("$B.scripthash.get_history", $sh, @$r),
                \@want, 'history ' . $JSON->encode($r));
        }
        $n++;
    }
    cmp_ok($n, '>', 30, 'scripts');
    my ($sh) = $p->scripthashes;
    is(error("$B.scripthash.get_history", $sh, 5, 4),
        '-32602 to_height: less than from_height', 'bad range');
    like(error("$B.scripthash.get_history", $sh, @$_), qr/^-32602/,
        $JSON->encode($_)) for [-1], [0, -2], ['x'], [0, 1, 2], [0, []];
    my $a = $c->answer($c->send_request("$B.scripthash.get_history",
        { scripthash => $sh, to_height => 1 }));
    is_deeply($a->{result}, [], 'named');
}

sub headers {
    my $tip = { height => $p->{height}, hex => $p->header($p->{height}) };
    is_deeply($c->call("$B.headers.get_tip"), $tip, 'tip');
    $c->call("$B.headers.unsubscribe");
    ok(!$c->call("$B.headers.unsubscribe"), 'not subscribed');
    is_deeply($c->call("$B.headers.subscribe"), $tip, 'subscribe');
    ok($c->call("$B.headers.unsubscribe"), 'unsubscribe');
    for my $h (0, 1, 50, $p->{height}) {
        my $want = { height => $h, hex => $p->header($h) };
        is_deeply($c->call("$B.header.get", $_), $want, "header $_")
            for $h, "$h", $node->hash_at($h), uc $node->hash_at($h);
    }
    like(error("$B.header.get", 'ab' x 32), qr/^2 daemon error: \w/,
        'unknown hash');
    is(error("$B.header.get", 1e6), '1 height 1000000 out of range', 'height');
    is(error("$B.header.get", $_),
        '-32602 block: a height or a block hash expected', 'no height')
        for -1, 'x', [], 'ab' x 31, 1.5;
}

sub transactions {
    my @txids = ($p->all_txids, keys %{ $p->{pool} });
    for my $txid (@txids) {
        my ($h) = $p->where($txid);
        is($c->call("$B.transaction.get_height", $txid), $h // 0, 'height');
        my $m = "$B.transaction.get_confirmed_blockhash";
        if (!defined $h) {
            like(error($m, $txid), qr/^1 no confirmed transaction/, 'pool');
            next;
        }
        my $want = { block_hash => display(sha256d(pack 'H*',
            $p->header($h))), block_height => $h };
        is_deeply($c->call($m, $txid), $want, 'block hash');
        is_deeply($c->call($m, $txid, JSON::PP::true()),
            { %$want, block_header => $p->header($h) }, 'header');
    }
    is($c->call("$B.transaction.get_height", 'ab' x 32), undef, 'unknown');
    like(error("$B.transaction.get_confirmed_blockhash", 'ab' x 32), qr/^1 /,
        'unknown');
    my $txid = ($p->txids(3))[0];
    is($c->call("$B.transaction.get_merkle", $txid)->{block_height}, 3,
        'merkle without a height');
}

sub utxos {
    my ($live, $settled, $none) = (0, 0, 0);
    for my $coin (values %{ $p->{out} }) {
        my @o = ($coin->{txid}, $coin->{vout});
        my $got = $c->call("$B.utxo.get_info", @o);
        if ($coin->{spent} || $coin->{spent_pool}) {
            is($got, undef, 'spent');
            $none++;
            next;
        }
        my $h = $coin->{height};
        is_deeply($got, { value => $coin->{value}, scripthash => $coin->{sh},
            defined $h ? (confirmed_height => $h) : () }, 'unspent');
        defined $h && $h < 100 ? $settled++ : $live++;
    }
    cmp_ok($_, '>', 3, 'enough of them') for $live, $settled, $none;
    my ($txid) = keys %{ $p->{pool} };
    is($c->call("$B.utxo.get_info", @$_), undef, 'there is none')
        for ['ab' x 32, 0], [$txid, 77], [($p->txids(5))[0], 9],
        [$txid, 4294967295], [$txid, 5e9], [($p->txids(0))[0], 0];
}

sub stats {
    my @keys = qw(height blockhash feerate_percentiles total_weight txs time);
    for my $h (1, 40, $p->{height}) {
        my $want = $node->rpc('getblockstats', $h);
        my $got = $c->call("$B.block.stats", $h);
        is_deeply($got, { map { $_ => $want->{$_} } @keys }, "block $h");
    }
    is(error("$B.block.stats", 1e6), '1 height 1000000 out of range', 'height');
}

sub arguments {
    my $txid = 'ab' x 32;
    for (["scripthash.get_status"], ["scripthash.get_status", 'x'],
        ["scripthash.get_first_use", 5], ["headers.get_tip", 1],
        ["headers.unsubscribe", 1], ["header.get"], ["block.stats"],
        ["block.stats", 'x'], ["transaction.get_height", 'ab'],
        ["transaction.get_confirmed_blockhash", $txid, 'x'],
        ["utxo.get_info", $txid], ["utxo.get_info", $txid, -1],
        ["utxo.get_info", 'x', 1], ["utxo.get_info", $txid, 1, 1])
    {
        my ($m, @a) = @$_;
        like(error("$B.$m", @a), qr/^-32602 /, $JSON->encode($_));
    }
}
