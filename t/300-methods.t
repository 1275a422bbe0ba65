#!/usr/bin/perl

# What the comparison with the model (500) does not ask: server methods, fees,
# broadcasting, verbose transactions, and the errors of each method.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use JSON::PP ();

my $T = 'blockchain.transaction';
my $B = 'blockchain.block';
my $S = 'blockchain.scripthash';

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $s = ElectrumX::Scenario->new($t, seed => 300);
my ($node, $coins) = @$s{qw(node coins)};
$s->base;
$s->grow(20);
$s->fill_mempool(20);
$s->serve(indexer => { live_window => 20 });
my $c = $t->client('tcp');
my $old = $t->client('tcp');
my $p;

subtest 'server.version' => \&versions;
$p = $s->settled($c);
subtest 'server methods' => \&server;
subtest 'fees' => \&fees;
subtest 'broadcast' => \&broadcast;
subtest 'broadcast_package' => \&a_package;
subtest 'verbose transactions' => \&verbose;
subtest 'headers out of range' => \&header_errors;
subtest 'transactions that are not there' => \&tx_errors;
subtest 'arguments' => \&arguments;
subtest 'subscriptions' => \&subscriptions;
$t->done;

sub code { return ($_[0]->error_of(@_[1 .. $#_]) || {})->{code} }

sub versions {
    is($c->version(['1.4', '1.6'])->[1], '1.6', 'the highest of a range');
    is($old->version('1.4')->[1], '1.4', 'a single one');
    is(code($c, 'server.version', 'x', '1.4'), 1, 'only once');
    my $low = $t->client('tcp');
    is($low->version(['1.2', '1.4.2'])->[1], '1.4.2', 'an older range');
    for my $bad ('0.9', ['0.9', '1.1'], ['2.0', '3.0'], 'x', ['1.6', '1.4']) {
        my $x = $t->client('tcp');
        my $name = JSON::PP->new->allow_nonref->encode($bad);
        is(code($x, 'server.version', 'x', $bad), 1, "$name: refused");
        ok($x->closed(2), "$name: closed");
    }
    my $none = $t->client('ws');
    is($none->call('server.version')->[1], '1.4', 'without arguments');
    my $more = $t->client('ws');
    is($more->call('server.version', 'x', '1.6', 'more')->[1], '1.6',
        'superfluous arguments pass');
}

sub server {
    is($c->call('server.ping'), undef, 'ping');
    ok(!ref $c->call('server.banner'), 'banner');
    is(ref \$c->call('server.donation_address'), 'SCALAR', 'donation');
    my $f = $c->call('server.features');
    is($f->{genesis_hash}, $node->hash_at(0), 'genesis hash');
    is($f->{hash_function}, 'sha256', 'hash function');
    is($f->{protocol_min}, '1.4', 'lowest version');
    like($f->{protocol_max}, qr/^1\.[67]/, 'highest version');
    ok(exists $f->{pruning} && !defined $f->{pruning}, 'pruning');
    is(ref $f->{hosts}, 'HASH', 'hosts');
    like($f->{server_version}, qr/\S/, 'server version');
    is(ref $c->call('server.peers.subscribe'), 'ARRAY', 'peers');
    is(code($c, 'server.nothing'), -32601, 'no such method');
    is(code($c, "$B.get_header", 1), -32601, 'a removed method');
}

sub fees {
    my $info = $node->rpc('getmempoolinfo');
    is($old->call('blockchain.relayfee'), $node->rpc('getnetworkinfo')
        ->{relayfee}, 'relayfee');
    my $got = $c->call('mempool.get_info');
    for (qw(mempoolminfee minrelaytxfee incrementalrelayfee)) {
        cmp_ok($got->{$_}, '==', $info->{$_}, $_);
    }
    cmp_ok($c->call('blockchain.estimatefee', 6), '==', -1,
        'estimatefee: none on this chain');
    cmp_ok($c->call('blockchain.estimatefee', 2, 'CONSERVATIVE'), '==', -1,
        'with a mode');
    my $h = $c->call('mempool.get_fee_histogram');
    my @rates = map { $_->[0] } @$h;
    is("@rates", join(' ', sort { $b <=> $a } @rates), 'rates descend');
    my $sum = 0;
    $sum += $_->[1] for @$h;
    cmp_ok($sum, '<=', $info->{bytes}, 'not more than the mempool');
}

sub fresh {
    $s->rescan;
    my $coin = $coins->take(kind => 'true', min => 1e6, confirmed => 1,
        standard => 1) or die 'no coin';
    return $coin;
}

sub broadcast {
    my $coin = fresh();
    my $tx = $coins->make([$coin],
        [[$coins->script('drop', 180), $coin->{value} - 2000]]);
    is($c->call("$T.broadcast", $tx->{hex}), $tx->{txid}, 'the txid');
    ok(grep({ $_ eq $tx->{txid} } $node->mempool), 'in the mempool');
    my $e = $c->error_of("$T.broadcast", $tx->{hex} =~ s/^0[12]/00/r);
    is($e->{code}, 1, 'refused: error 1') or diag explain $e;
    like($e->{message}, qr/\S/, 'with a reason');
    note $e->{message};
    my $double = $coins->make([$coin],
        [[$coins->script('drop', 181), $coin->{value} - 1000]]);
    is(code($c, "$T.broadcast", $double->{hex}), 1, 'a double spend');
    for my $bad ('zz', '0', '', 'ab') {
        like(code($c, "$T.broadcast", $bad), qr/^(?:1|-32602)$/, "'$bad'");
    }
}

sub a_package {
    my $coin = fresh();
    my $one = $coins->make([$coin],
        [[$coins->script('drop', 182), $coin->{value} - 1000]]);
    my $two = $coins->make($one->{coins},
        [[$coins->script('drop', 183), $coin->{value} - 3000]]);
    my $r = $c->call("$T.broadcast_package", [$one->{hex}, $two->{hex}]);
    ok($r->{success}, 'success') or diag explain $r;
    my %pool = map { $_ => 1 } $node->mempool;
    ok($pool{ $one->{txid} } && $pool{ $two->{txid} }, 'both are in');
    my $bad = $coins->make([$coin],
        [[$coins->script('drop', 184), $coin->{value} * 2]]);
    my $a = $c->request("$T.broadcast_package", [$bad->{hex}]);
    ok($a->{error} || !$a->{result}{success}, 'a bad one is refused');
    note explain $a->{error} || $a->{result};
}

# The same as the node says, but for what changes with the asking.
sub verbose {
    my $h = $p->{height};
    for my $height (1, $h - 1) {
        my ($txid) = $p->txids($height);
        my $want = $node->rpc('getrawtransaction', $txid, 1,
            $node->hash_at($height));
        delete $want->{in_active_chain};
        my $got = $c->call("$T.get", $txid, JSON::PP::true());
        is_deeply($got, $want, "confirmed at $height");
    }
    my ($txid) = $p->mempool_txids;
    is_deeply($c->call("$T.get", $txid, JSON::PP::true()),
        $node->rpc('getrawtransaction', $txid, 1), 'in the mempool');
    is($c->call("$T.get", $txid, JSON::PP::false()), $p->raw($txid),
        'not verbose');
}

sub header_errors {
    my $top = $p->{height};
    is(code($c, "$B.header", $top + 1), 1, 'beyond the tip');
    is(code($c, "$B.header", 5, 4), 1, 'above cp_height');
    is(code($c, "$B.header", 5, $top + 1), 1, 'cp_height beyond the tip');
    is(code($c, "$B.headers", 5, 3, 6), 1, 'headers above cp_height');
    is(code($c, "$B.headers", 5, 3, $top + 1), 1, 'cp beyond the tip');
    like(code($c, "$B.header", -1), qr/^(?:1|-32602)$/, 'negative');
    like(code($c, "$B.header", 'x'), qr/^(?:1|-32602)$/, 'not a number');
    is($c->call("$B.headers", $top + 100, 5)->{count}, 0, 'none beyond');
}

sub tx_errors {
    my $none = 'ab' x 32;
    like(code($c, "$T.get", $none), qr/^[12]$/, 'get: unknown');
    is(code($c, "$T.get_merkle", $none, 5), 1, 'get_merkle: unknown');
    my ($txid) = $p->txids(5);
    is(code($c, "$T.get_merkle", $txid, 6), 1, 'get_merkle: other height');
    is(code($c, "$T.get_merkle", $txid, $p->{height} + 5), 1,
        'get_merkle: beyond the tip');
    is(code($c, "$T.id_from_pos", 5, 1), 1, 'id_from_pos: no such position');
    is(code($c, "$T.id_from_pos", $p->{height} + 1, 0), 1,
        'id_from_pos: beyond the tip');
    my ($pool) = $p->mempool_txids;
    is(code($c, "$T.get_merkle", $pool, 5), 1, 'get_merkle: in the mempool');
}

sub arguments {
    is(code($old, "$S.get_history"), -32602, 'too few');
    is(code($old, "$S.get_history", 'ab' x 32, 1, 2, 3), -32602, 'too many');
    for my $bad ('ab', 'zz' x 32, 'ab' x 33, 5, undef, [], {}) {
        my $name = JSON::PP->new->allow_nonref->encode($bad);
        like(code($old, "$S.get_history", $bad), qr/^(?:1|-32602)$/, "hash $name");
    }
    my ($sh) = grep { @{ $p->history($_) } } $p->scripthashes;
    my $r = $old->make_request("$S.get_history", { scripthash => $sh });
    $old->send_text($old->encode($r));
    is_deeply($old->answer($r->{id})->{result}, $p->history($sh), 'by name');
    $r = $old->make_request("$S.get_history", { nothing => $sh });
    $old->send_text($old->encode($r));
    is($old->answer($r->{id})->{error}{code}, -32602, 'by a wrong name');
    is_deeply($old->call("$S.get_history", uc $sh), $p->history($sh),
        'upper case');
}

sub subscriptions {
    my $unknown = 'cd' x 32;
    is($c->call("$S.subscribe", $unknown), undef, 'nothing yet: null');
    is($c->call("$S.subscribe", $unknown), undef, 'a second time');
    ok($c->call("$S.unsubscribe", $unknown), 'unsubscribed');
    ok(!$c->call("$S.unsubscribe", $unknown), 'only once');
    is_deeply($c->call('blockchain.headers.subscribe'), { height =>
        $p->{height}, hex => $p->header($p->{height}) }, 'headers');
}
