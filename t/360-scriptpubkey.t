#!/usr/bin/perl

# What came with version 1.7: blockchain.scriptpubkey.*, mempool.recent,
# blockchain.transaction.testmempoolaccept.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Tx qw(op_push scripthash);
use JSON::PP ();

my $P = 'blockchain.scriptpubkey';
my $H = 'blockchain.scripthash';
my $JSON = JSON::PP->new->allow_nonref->canonical;

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $s = ElectrumX::Scenario->new($t);
my ($node, $coins) = @$s{qw(node coins)};
$s->base;
$s->grow(6);
$s->fill_mempool(12);
$s->serve(indexer => { live_window => 20 }, nginx => { workers => 1 });
my $c = $t->client('tcp');
my $old = $t->client('ws');
$c->version('1.7');
my $next = 0;
$s->rescan;

subtest 'the same answers in other shapes' => \&shapes;
subtest 'arguments' => \&arguments;
subtest 'subscriptions' => \&subscriptions;
subtest 'mempool.recent' => \&recent;
subtest 'testmempoolaccept' => \&accept;
$t->done;

sub pay {
    my ($script) = @_;
    my $coin = $coins->take(min => 1e5, confirmed => 1, standard => 1,
        no_pool => 1) or die 'no coin';
    return $coins->make([$coin], [[$script, $coin->{value} - 10_000]]);
}

sub shapes {
    my $p = $s->settled($c);
    my %seen = map { $_->{script} => 1 } values %{ $p->{out} };
    for my $script (sort keys %seen) {
        my $hex = unpack 'H*', $script;
        my $sh = scripthash($script);
        my $name = substr $hex, 0, 20;
        is_deeply($c->call("$P.get_history", $hex),
            { history => $p->history($sh) }, "history $name");
        is_deeply($c->call("$P.get_mempool", $hex),
            { history => $p->mempool($sh) }, 'mempool');
        is_deeply($c->call("$P.get_balance", uc $hex), $p->balance($sh),
            'balance');
        my $got = $c->call("$P.listunspent", $hex);
        is(join(' ', keys %$got), 'utxos', 'unspent');
        is(unspent($got->{utxos}), unspent($p->unspent($sh)), 'the same');
        is($old->call("$P.subscribe", $hex), $p->status($sh), 'status');
        ok($old->call("$P.unsubscribe", $hex), 'unsubscribe');
    }
    cmp_ok(scalar keys %seen, '>', 20, 'scripts');
}

# Unconfirmed ones come in any order.
sub unspent { return join "\n", sort map { $JSON->encode($_) } @{ $_[0] } }

sub arguments {
    for my $m (map {"$P.$_"} qw(get_history get_mempool get_balance
        listunspent subscribe unsubscribe))
    {
        for my $bad ([], ['0'], ['zz'], [5], [undef], [{}], { x => '00' }) {
            my $e = $c->answer($c->send_request($m, $bad))->{error};
            is($e->{code}, -32602, "$m " . $JSON->encode($bad));
        }
        is($c->error_of($m, 'x')->{message},
            'scriptpubkey: a script in hex digits expected', 'in words');
        for my $named (qw(scriptpubkey spk)) {
            my $a = $c->answer($c->send_request($m, { $named => '51' }));
            ok(exists $a->{result}, "named $named");
        }
        ok(!$c->error_of($m, ''), 'an empty script');
        ok(!$c->error_of($m, '51' x 20_000), 'a long one');
    }
}

sub told {
    my ($x, $kind, $name) = @_;
    return $x->notification("blockchain.$kind.subscribe", 10,
        sub { $_[0][0] eq $name })->[1];
}

sub subscriptions {
    my $script = op_push('360 ' . $next++) . "\x75\x51";
    my ($hex, $sh) = (unpack('H*', $script), scripthash($script));
    my $tx = pay($script);
    is($c->call("$P.subscribe", uc $hex), undef, 'by script');
    is($old->call("$P.subscribe", $hex), undef, 'in another session');
    is($old->call("$H.subscribe", uc $sh), undef, 'and by hash');
    $node->send($tx->{hex});
    my $status = told($c, 'scriptpubkey', $sh);
    like($status, qr/^[0-9a-f]{64}$/, 'told with the script hash');
    is(told($old, 'scriptpubkey', $sh), $status, 'the other, too');
    is(told($old, 'scripthash', uc $sh), $status, 'in both ways');
    ok(!$c->call("$H.unsubscribe", $sh), 'by hash it was not');
    ok($old->call("$H.unsubscribe", $sh), 'by hash it was');
    ok(!$old->call("$H.unsubscribe", $sh), 'only once');
    $node->generate(1);
    my $next = told($c, 'scriptpubkey', $sh);
    isnt($next, $status, 'block');
    is(told($old, 'scriptpubkey', $sh), $next, 'other session');
    ok($old->no_notification("$H.subscribe", 0.2), 'no more by hash');
    is($c->call("$P.subscribe", $hex), $next, 'again');
    ok($c->call("$P.unsubscribe", $hex), 'unsubscribed');
    ok(!$c->call("$P.unsubscribe", $hex), 'once');
}

sub recent {
    $node->generate(1);
    $s->settled($c);
    is_deeply($c->call('mempool.recent'), [], 'an empty mempool')
        if !$node->mempool;
    my @txs = map { pay(op_push("recent $_") . "\x75\x51") } 1 .. 12;
    for my $n (0 .. 11) {
        $node->send($txs[$n]{hex});
        next if $n > 2;
        my $newest = '';
        $t->wait_for(sub {
            my $list = $c->call('mempool.recent');
            $newest = @$list ? $list->[0]{txid} : '';
            $newest eq $txs[$n]{txid} }, 10, "transaction $n");
        pass("the newest is $n");
    }
    $t->wait_for(sub { @{ $c->call('mempool.recent') } == 10
        && ! grep { !$c->call('blockchain.transaction.get', $_->{txid}) }
            @txs }, 10, 'all of them');
    my $list = $c->call('mempool.recent');
    is(scalar @$list, 10, 'ten');
    my %want = map { my $e = $node->rpc('getmempoolentry', $_->{txid});
        ($_->{txid} => { txid => $_->{txid}, vsize => $e->{vsize},
            fee => 10_000 }) } @txs;
    is_deeply($_, $want{ $_->{txid} }, 'entry') for @$list;
    $node->generate(1);
    $t->wait_for(sub { !@{ $c->call('mempool.recent') } }, 10, 'none left');
    pass('none in the mempool');
}

sub accept {
    my $m = 'blockchain.transaction.testmempoolaccept';
    my $good = pay(op_push('good') . "\x75\x51");
    my $bad = $coins->make([{ txid => 'ab' x 32, vout => 0, script => "\x51",
        value => 5000 }], [["\x51", 4000]]);
    my ($a) = @{ $c->call($m, [$good->{hex}]) };
    is($a->{txid}, $good->{txid}, 'txid');
    like($a->{wtxid}, qr/^[0-9a-f]{64}$/, 'wtxid');
    is_deeply($a, { txid => $good->{txid}, wtxid => $a->{wtxid},
        allowed => JSON::PP::true() }, 'allowed');
    ($a) = @{ $c->call($m, [$bad->{hex}]) };
    is($a->{allowed}, JSON::PP::false(), 'not allowed');
    like($a->{reason}, qr/\w/, 'reason');
    is(scalar @{ $c->call($m, [$good->{hex}, $bad->{hex}]) }, 2, 'two');
    is($c->error_of($m, ['00'])->{code}, 2, 'no transaction');
    is($c->error_of($m, $_)->{code}, -32602, 'arguments')
        for [], ['x'], '00', [5], undef;
    ok(!grep { $_ eq $good->{txid} } $node->mempool, 'only tested');
}
