#!/usr/bin/perl

# blockchain.address.*: the same answers as by script hash.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Tx qw(scripthash);
use JSON::PP ();

my $A = 'blockchain.address';
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
my $p = $s->settled($c);
my %address;

subtest 'answers' => \&answers;
subtest 'subscriptions' => \&subscriptions;
subtest 'errors' => \&errors;
$t->done;

sub answers {
    my %seen = map { $_->{script} => 1 } values %{ $p->{out} };
    for my $script (sort keys %seen) {
        my $d = $node->rpc('decodescript', unpack 'H*', $script);
        my $address = $d->{address} or next;
        my $sh = scripthash($script);
        $address{$address} = $script;
        is($c->call("$A.get_scripthash", $address), $sh, $address);
        for my $m (qw(get_history get_mempool get_balance listunspent
            get_status get_first_use))
        {
            is_deeply($c->call("$A.$m", $address), $c->call("$H.$m", $sh), $m);
        }
        is_deeply($c->call("$A.get_history", $address, 0, 100),
            $c->call("$H.get_history", $sh, 0, 100), 'part of the history');
    }
    my %kind = map { s/^(bcrt1.|.).*/$1/r => 1 } keys %address;
    cmp_ok(scalar keys %kind, '>=', 4, "kinds: @{[ sort keys %kind ]}");
}

sub subscriptions {
    my ($bech) = grep {/^bcrt1q/} sort keys %address;
    my ($old) = grep { !/^bcrt1/ } sort keys %address;
    my $x = $t->client('ws');
    for my $a ($bech, uc $bech, $old) {
        is($x->call("$A.subscribe", $a),
            $p->status(scripthash($address{lc $a} // $address{$a})), $a);
    }
    for my $a (uc $bech, $old) {
        $node->generate(1, "addr($a)" =~ s/\((BCRT1\w+)/'(' . lc $1/er);
        my $n = $x->notification("$A.subscribe", 10, sub { $_[0][0] eq $a });
        is($n->[1], $c->call("$A.get_status", $a), 'told as it was spelled');
    }
    ok(!$x->call("$H.unsubscribe", scripthash($address{$old})), 'by hash');
    ok($x->call("$A.unsubscribe", $_), 'unsubscribe') for $bech, $old;
    ok(!$x->call("$A.unsubscribe", $_), 'once') for $bech, $old;
    $x->call("$A.subscribe", $_) for sort keys %address;
    $x->abort;
}

sub errors {
    my ($good) = sort keys %address;
    for my $m (qw(get_history get_mempool get_balance listunspent get_status
        get_first_use get_scripthash subscribe unsubscribe))
    {
        for my $bad ('', 'x', "${good}x", "\x{20ac}", 'y' x 3000,
            '1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa',
            'bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4')
        {
            my $e = $c->error_of("$A.$m", $bad);
            is($e->{code}, 1, "$m: error");
            like($e->{message}, qr/ is not a valid address$/, 'in words');
        }
        is($c->error_of("$A.$m", @$_)->{code}, -32602, $JSON->encode($_))
            for [], [5], [undef], [$good, 1, 2, 3];
    }
}
