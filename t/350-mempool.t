#!/usr/bin/perl

# Fees and the mempool: estimates with their modes and targets, relay fee,
# histogram, mempool.get_info.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use JSON::PP ();

my $EST = 'blockchain.estimatefee';
my $JSON = JSON::PP->new->allow_nonref->canonical;

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $s = ElectrumX::Scenario->new($t);
my ($node, $coins) = @$s{qw(node coins)};
$s->base;
$s->serve(indexer => { live_window => 20 });
my $c = $t->client('tcp');
$c->version('1.4');
my $ws = $t->client('ws');
$ws->version('1.6');

subtest 'estimates' => \&estimates;
subtest 'estimates that the node has' => \&known;
subtest 'relay fee and mempool info' => \&info;
subtest 'histogram' => \&histogram;
subtest 'errors' => \&errors;
$t->done;

sub estimates {
    for my $p ([0], [1], [2], [25], [1008], [5000], ['6'], [6, undef],
        [6, 'CONSERVATIVE'], [6, 'economical'], [6, 'Economical'], [6, 5],
        [6, []], { number => 6 }, { number => 6, mode => 'economical' })
    {
        my $a = $ws->answer($ws->send_request($EST, $p));
        cmp_ok($a->{result} // 'none', 'eq', '-1', $JSON->encode($p));
    }
}

# Blocks that are full enough for the node to learn from.
sub known {
    for (1 .. 30) {
        $s->rescan;
        for (1 .. 6) {
            my $tx = $coins->random(standard => 1) or last;
            $node->try('sendrawtransaction', $tx->{hex}, 0, '21000000');
        }
        $node->generate(1);
    }
    my $want = $node->rpc('estimatesmartfee', 4)->{feerate};
    $t->wait_for(sub { $c->call('blockchain.headers.subscribe')->{height}
        == $node->height }, 10, 'the tip');
    sleep 1;
    my $got = $c->call($EST, 4);
    cmp_ok($got, '==', $want // -1, 'as the node says') or diag $got;
    note 'estimate: ' . $JSON->encode($got);
    for my $mode ('CONSERVATIVE', 'ECONOMICAL') {
        $want = $node->rpc('estimatesmartfee', 4, $mode)->{feerate};
        cmp_ok($c->call($EST, 4, $mode), '==', $want // -1, $mode);
    }
    # 49 and 71 are asked as 48
    $want = $node->rpc('estimatesmartfee', 48)->{feerate};
    cmp_ok($c->call($EST, $_), '==', $want // -1, "$_ blocks") for 48, 49, 71;
}

sub info {
    my $n = $node->rpc('getnetworkinfo');
    my $m = $node->rpc('getmempoolinfo');
    for my $client ($c, $ws) {
        cmp_ok($client->call('blockchain.relayfee'), '==', $n->{relayfee},
            'relayfee');
        my $got = $client->call('mempool.get_info');
        is(join(' ', sort keys %$got),
            'incrementalrelayfee mempoolminfee minrelaytxfee', 'members');
        cmp_ok($got->{$_}, '==', $m->{$_}, $_) for sort keys %$got;
    }
    $ws->send_text('{"id":"x","method":"mempool.get_info"}');
    like($ws->read_text, qr/"minrelaytxfee":[0-9.e-]+[,}]/,
        'fees are numbers');
}

sub histogram {
    $s->fill_mempool(40);
    my $p = $s->settled($c);
    my $h;
    my $size = $node->rpc('getmempoolinfo')->{bytes};
    $t->wait_for(sub { @{ $h = $c->call('mempool.get_fee_histogram') }
            || $size < 30_000 }, 20, 'a histogram');
    my @rates = map { $_->[0] } @$h;
    is("@rates", join(' ', sort { $b <=> $a } @rates), 'rates descend');
    my $sum = 0;
    $sum += $_->[1] for @$h;
    cmp_ok($sum, '<=', $size, 'not more than the mempool');
    is_deeply($ws->call('mempool.get_fee_histogram'), $h, 'the same to all');
}

sub errors {
    my @t = (
        [$EST, [], -32602, qr/^number: missing argument$/],
        [$EST, ['x'], -32602, qr/^number: a non-negative integer expected$/],
        [$EST, [-1], -32602, qr/^number: /],
        [$EST, [6, 'fast'], 1, qr/^unknown estimatefee mode$/],
        [$EST, [6, ''], 1, qr/^unknown estimatefee mode$/],
        [$EST, [6, 'ECONOMICALLY'], 1, qr/^unknown estimatefee mode$/],
        [$EST, [6, undef, 1], -32602, qr/^too many arguments/],
        ['blockchain.relayfee', [1], -32602, qr/^too many arguments/],
        ['mempool.get_info', [1], -32602, qr/^too many arguments/],
        ['mempool.get_fee_histogram', [1], -32602, qr/^too many arguments/],
    );
    for my $x (@t) {
        my ($method, $params, $code, $words) = @$x;
        my $e = $c->answer($c->send_request($method, $params))->{error};
        is($e->{code}, $code, "$method " . $JSON->encode($params));
        like($e->{message}, $words, 'in words');
    }
}
