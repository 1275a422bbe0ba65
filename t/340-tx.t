#!/usr/bin/perl

# blockchain.transaction.*: where raw transactions come from, proofs, the words
# of a refused broadcast, packages, errors, and what is left without the node.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Tx qw(sha256d display internal parse_block op_push);
use JSON::PP ();

my $T = 'blockchain.transaction';
my $NONE = 'ab' x 32;
my $JSON = JSON::PP->new->allow_nonref->canonical;
my ($TRUE, $FALSE) = (JSON::PP::true(), JSON::PP::false());

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $s = ElectrumX::Scenario->new($t);
my ($node, $coins) = @$s{qw(node coins)};
$s->base;
$s->grow(45, max => 12);
$s->fill_mempool(10);
$s->serve(indexer => { live_window => 20 });
my $c = $t->client('tcp');
$c->version('1.4.2');
my $ws = $t->client('ws');
$ws->version('1.6');
my $p = $s->settled($c);
my $top = $p->{height};
my $next = 0;

subtest 'raw' => \&raw_ones;
subtest 'verbose' => \&verbose;
subtest 'proofs' => \&proofs;
subtest 'errors' => \&errors;
subtest 'broadcast' => \&broadcast;
subtest 'refused by the node' => \&refused;
subtest 'packages' => \&packages;
subtest 'at once after a broadcast' => \&at_once;
subtest 'without the node' => \&no_node;
$t->done;

sub raw_ones {
    for my $h (0, 1, 50, $top - 21, $top - 20, $top - 19, $top) {
        my @txids = $p->txids($h);
        for my $txid (@txids[0, -1]) {
            is($c->call("$T.get", $txid), $p->raw($txid), "at $h");
        }
    }
    is($ws->call("$T.get", $_, $FALSE), $p->raw($_), 'in the mempool')
        for $p->mempool_txids;
    my ($txid) = $p->txids(7);
    for my $params (['X', undef], ['X', 0], { tx_hash => 'X' },
        { tx_hash => 'X', verbose => $FALSE }, [uc 'X'])
    {
        my $text = $JSON->encode($params) =~ s/X/$txid/r;
        $c->send_text(qq({"id":"raw","method":"$T.get","params":$text}));
        is($c->answer('raw')->{result}, $p->raw($txid), $text);
    }
    my @all = map { $p->txids($_) } 1 .. $top;
    my @a = $c->pipeline(map { ["$T.get", $_] } @all);
    is(scalar(grep { ($a[$_]{result} // '') ne $p->raw($all[$_]) }
        0 .. $#all), 0, 'all at once');
    my $batch = $ws->batch(map { ["$T.get", $_] } @all[0 .. 150]);
    is(scalar(grep { ($batch->[$_]{result} // '') ne $p->raw($all[$_]) }
        0 .. 150), 0, 'in a batch');
}

sub verbose {
    for my $h (1, $top - 20, $top, 0) {
        my ($txid) = reverse $h ? $p->txids($h) : $p->mempool_txids;
        my @block = $h ? $node->hash_at($h) : ();
        my $want = $node->rpc('getrawtransaction', $txid, 1, @block);
        delete $want->{in_active_chain};
        my $got = $c->call("$T.get", $txid, $TRUE);
        for ($want, $got) { delete $_->{confirmations} }
        is_deeply($got, $want, 'as the node says');
        is($ws->call("$T.get", $txid, 1)->{hex}, $p->raw($txid), 'with 1');
    }
}

sub climb {
    my ($txid, $pos, $branch) = @_;
    my $hash = internal($txid);
    for my $sibling (map { internal($_) } @$branch) {
        $hash = sha256d($pos % 2 ? $sibling . $hash : $hash . $sibling);
        $pos >>= 1;
    }
    return display($hash);
}

sub proofs {
    for my $h (0, 1, 60, $top - 21 .. $top) {
        my @txids = $p->txids($h);
        my $root = display(substr pack('H*', $p->header($h)), 36, 32);
        for my $pos (0 .. $#txids) {
            my $m = $c->call("$T.get_merkle", $txids[$pos], $h);
            my $ok = $m->{block_height} == $h && $m->{pos} == $pos
                && climb($txids[$pos], $pos, $m->{merkle}) eq $root;
            my $id = $c->call("$T.id_from_pos", $h, $pos);
            my $with = $c->call("$T.id_from_pos", $h, $pos, $TRUE);
            ok($ok && $id eq $txids[$pos] && $with->{tx_hash} eq $id
                && "@{ $with->{merkle} }" eq "@{ $m->{merkle} }",
                "$h, $pos of " . @txids);
        }
    }
    my ($txid) = $p->txids(60);
    is_deeply($c->call("$T.get_merkle", $txid),
        $c->call("$T.get_merkle", $txid, 60), 'the height need not be given');
    is_deeply($c->call("$T.get_merkle", $txid, '60'),
        $c->call("$T.get_merkle", $txid, 60), 'or be a string');
}

sub errors {
    my ($txid) = $p->txids(5);
    my ($pool) = $p->mempool_txids;
    my @t = (
        ["$T.get", [$NONE], 2, qr/^daemon error: .*No such mempool/],
        ["$T.get", [$NONE, $TRUE], 2, qr/^daemon error: .*No such mempool/],
        ["$T.get", [], -32602, qr/^tx_hash: missing argument$/],
        ["$T.get", ['ab'], -32602, qr/^tx_hash: 64 hex digits expected$/],
        ["$T.get", [$txid, 'x'], -32602, qr/^verbose: true or false/],
        ["$T.get", [$txid, 2], -32602, qr/^verbose: true or false/],
        ["$T.get", [$txid, $TRUE, 1], -32602, qr/^too many arguments/],
        ["$T.get_merkle", [$NONE, 5], 1, qr/^tx $NONE not in block at height 5$/],
        ["$T.get_merkle", [$txid, 6], 1, qr/not in block at height 6$/],
        ["$T.get_merkle", [$txid, $top + 1], 1, qr/not in block at height/],
        ["$T.get_merkle", [$txid, 2**40], 1, qr/not in block at height/],
        ["$T.get_merkle", [$pool, $top], 1, qr/not in block at height $top$/],
        ["$T.get_merkle", [$pool], 1, qr/not in block/],
        ["$T.get_merkle", [$txid, -1], -32602, qr/^height: /],
        ["$T.get_merkle", [5, 5], -32602, qr/^tx_hash: 64 hex/],
        ["$T.id_from_pos", [5, 1], 1, qr/^no tx at position 1 in block at height 5$/],
        ["$T.id_from_pos", [$top + 1, 0], 1, qr/^no tx at position 0 /],
        ["$T.id_from_pos", [2**33, 0], 1, qr/^no tx at position 0 /],
        ["$T.id_from_pos", [5, 2**33], 1, qr/^no tx at position /],
        ["$T.id_from_pos", [5], -32602, qr/^tx_pos: missing argument$/],
        ["$T.id_from_pos", [5, 'x'], -32602, qr/^tx_pos: /],
        ["$T.id_from_pos", [5, 0, 'x'], -32602, qr/^merkle: /],
        ["$T.broadcast", [], -32602, qr/^raw_tx: missing argument$/],
        ["$T.broadcast", [''], -32602, qr/^raw_tx: hex digits expected$/],
        ["$T.broadcast", ['abc'], -32602, qr/^raw_tx: hex digits expected$/],
        ["$T.broadcast", ['zz'], -32602, qr/^raw_tx: hex digits expected$/],
        ["$T.broadcast", [5], -32602, qr/^raw_tx: hex digits expected$/],
        ["$T.broadcast_package", [], -32602, qr/^raw_txs: missing/],
        ["$T.broadcast_package", [[]], -32602, qr/^raw_txs: a non-empty/],
        ["$T.broadcast_package", ['00'], -32602, qr/^raw_txs: a non-empty/],
        ["$T.broadcast_package", [['0']], -32602, qr/^raw_txs: a non-empty/],
        ["$T.broadcast_package", [['00'], 'x'], -32602, qr/^verbose: /],
    );
    for my $x (@t) {
        my ($method, $params, $code, $words) = @$x;
        my $e = $c->answer($c->send_request($method, $params))->{error};
        is($e->{code}, $code, "$method " . $JSON->encode($params));
        like($e->{message}, $words, 'in words');
    }
}

sub spend {
    my ($fee) = @_;
    $s->rescan;
    my $coin = $coins->take(min => 1e6, confirmed => 1, standard => 1,
        kind => 'true', coinbase => 1) or die 'no coin';
    my $script = op_push('340 ' . $next++) . "\x75\x51";
    return ($coins->make([$coin], [[$script, $coin->{value} - $fee]]), $coin);
}

sub broadcast {
    my ($tx) = spend(2000);
    is($c->call("$T.broadcast", $tx->{hex}), $tx->{txid}, 'txid');
    ok(grep({ $_ eq $tx->{txid} } $node->mempool), 'in the mempool');
    ($tx) = spend(2000);
    is($ws->call("$T.broadcast", uc $tx->{hex}), $tx->{txid}, 'upper case');
    ($tx) = spend(2000);
    my $id = $c->send_request("$T.broadcast", { raw_tx => $tx->{hex} });
    is($c->answer($id)->{result}, $tx->{txid}, 'by name');
}

sub refused {
    my ($tx, $coin) = spend(2000);
    $c->call("$T.broadcast", $tx->{hex});
    my $low = $coins->make([$coin],
        [[op_push('340 x') . "\x75\x51", $coin->{value} - 1000]]);
    my (undef, $why) = $node->try('sendrawtransaction', $low->{hex});
    my $e = $c->error_of("$T.broadcast", $low->{hex});
    is($e->{code}, 1, 'a double spend');
    is($e->{message}, "the transaction was rejected by network rules.\n\n"
        . "$why->{message}\n[$low->{hex}]", 'reason and transaction');
    for my $bad ('00', 'ff' x 100, substr($tx->{hex}, 0, -2),
        'ab' x 40000)
    {
        $e = $c->error_of("$T.broadcast", $bad);
        is($e->{code}, 1, 'no transaction');
        like($e->{message}, qr/rules\.\n\nTX decode failed.*\[\Q$bad\E\]\z/s,
            'in words');
    }
    my $a = $c->batch(["$T.broadcast", $low->{hex}], ['server.ping'],
        ["$T.broadcast", '00']);
    is(join(' ', map { $_->{error} ? $_->{error}{code} : 'ok' } @$a),
        '1 ok 1', 'in a batch');
}

sub packages {
    my ($one) = spend(1000);
    my $two = $coins->make($one->{coins}, [[op_push('340 two') . "\x75\x51",
        $one->{coins}[0]{value} - 3000]]);
    is_deeply($ws->call("$T.broadcast_package", [$one->{hex}, $two->{hex}]),
        { success => $TRUE }, 'success');
    my %pool = map { $_ => 1 } $node->mempool;
    ok($pool{ $one->{txid} } && $pool{ $two->{txid} }, 'both are in');
    my $bad = $coins->make($two->{coins}, [[op_push('340 bad') . "\x75\x51",
        $two->{coins}[0]{value} * 2]]);
    my $r = $ws->call("$T.broadcast_package", [$bad->{hex}]);
    ok(!$r->{success}, 'refused');
    is(join(' ', sort keys %$r), 'errors success', 'members');
    is($r->{errors}[0]{txid}, $bad->{txid}, 'which one');
    like($r->{errors}[0]{error}, qr/\w/, 'why');
    $r = $ws->call("$T.broadcast_package", [$bad->{hex}], $TRUE);
    ok($r->{package_msg} && $r->{'tx-results'}, 'verbose: as the node says');
    my $e = $ws->error_of("$T.broadcast_package", ['00']);
    is($e->{code}, 1, 'malformed: an error');
    like($e->{message}, qr/^the tx package was rejected by network rules\.\n\n\w.*\.\z/s,
        'in words');
}

# The node knows it before the index does.
sub at_once {
    for (1 .. 5) {
        my ($tx) = spend(2000);
        my @a = $c->pipeline(["$T.broadcast", $tx->{hex}]);
        is($c->call("$T.get", $tx->{txid}), $tx->{hex}, 'is served');
    }
}

sub no_node {
    my ($old) = $p->txids(50);
    my ($live) = $p->txids($top);
    my ($pool) = $p->mempool_txids;
    my ($tx) = spend(2000);
    $t->allow_exit('node');
    $node->kill;
    is($c->call("$T.get", $_), $p->raw($_), 'new ones are served')
        for $live, $pool;
    is($c->call("$T.get_merkle", $old, 50)->{pos}, 0, 'proofs of all');
    for (["$T.get", $old], ["$T.get", $old, $TRUE],
        ["$T.broadcast", $tx->{hex}],
        ["$T.broadcast_package", [$tx->{hex}]], ['blockchain.estimatefee', 5])
    {
        my $e = $c->error_of(@$_);
        is($e->{code}, 2, "$_->[0]: error 2");
        is($e->{message}, 'daemon error: the node is not reachable',
            'in words');
    }
}
