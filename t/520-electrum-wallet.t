#!/usr/bin/perl

# The real Electrum wallet, headless: create, receive, see the balance change,
# send, confirm, reorganisation, history; over TLS, then the same wallet over
# TCP.  It verifies headers, Merkle proofs and statuses itself.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use HTTP::Tiny;
use JSON::PP ();
use MIME::Base64 ();
use Time::HiRes qw(time);

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind electrum openssl tls)]);
my $s = ElectrumX::Scenario->new($t, seed => 520, free_only => 1);
my ($node, $coins) = @$s{qw(node coins)};
$s->base;
$s->serve(indexer => { live_window => 100 }, nginx => { workers => 2 });
mkdir $t->path('electrum');
my ($daemons, $address);

subtest 'create a wallet, over TLS' => sub {
    start_electrum('s', $t->port('tls'));
    my $w = wallet('create');
    like($w->{seed}, qr/^(\w+ ){11}\w+$/, 'a seed');
    wallet('load_wallet');
    connected('tls');
    $address = wallet('getunusedaddress');
    like($address, qr/^bcrt1q/, 'an address');
    is(balance(), '0/0', 'empty');
};

subtest 'receive' => sub {
    my $txid = pay($address, 50_000_000);
    becomes('0/0.5', 'unconfirmed balance');
    $node->generate(1);
    becomes('0.5/0', 'confirmed balance');
    my ($entry) = history();
    is($entry->{txid}, $txid, 'in the history');
    is($entry->{height}, $node->height, 'height');
    my $second = pay(wallet('createnewaddress'), 10_000_000);
    becomes('0.5/0.1', 'a second one');
    $node->generate(3);
    becomes('0.6/0', 'confirmed');
};

my $sent;
subtest 'send' => sub {
    my $to = address_of($coins->script('wshtrue', 0));
    my $hex = wallet('payto', destination => $to, amount => '0.2',
        feerate => 2);
    $sent = wallet('broadcast', tx => $hex);
    like($sent, qr/^[0-9a-f]{64}$/, 'txid');
    ok(grep({ $_ eq $sent } $node->mempool), 'the node has it');
    $t->wait_for(sub { grep { $_->{txid} eq $sent } history() }, 20,
        'in the history');
    $node->generate(1);
    $t->wait_for(sub { (found($sent) || {})->{confirmations} }, 20,
        'confirmed');
    is(found($sent)->{height}, $node->height, 'height');
    my $raw = wallet('gettransaction', txid => $sent);
    is(lc $raw, $node->rpc('getrawtransaction', $sent,
        ElectrumX::Node::FALSE, $node->tip), 'the same transaction');
};

subtest 'refused by the node' => sub {
    my $hex = unpack 'H*', ElectrumX::Tx::build_tx(
        vin => [{ txid => 'ab' x 32, vout => 0 }],
        vout => [{ value => 1000, script => "\x51" }]);
    my ($result, $error) = try_wallet('broadcast', tx => $hex);
    ok($error, 'an error') and note $error->{message};
};

subtest 'a reorganisation' => sub {
    my $h = $node->height;
    # One block only: below its lock time the node would drop the payment.
    $node->reorg(1);
    $t->wait_for(sub {
        my $e = found($sent);
        $e && !$e->{confirmations} && info()->{blockchain_height} == $h + 1;
    }, 20, 'unconfirmed again');
    pass('unconfirmed again');
    $node->generate(1);
    $t->wait_for(sub { (found($sent) || {})->{confirmations} }, 20,
        'confirmed again');
    is(found($sent)->{height}, $node->height, 'at the new height');
};

subtest 'the same wallet over TCP' => sub {
    my ($was, @history) = (balance(), history());
    stop_electrum();
    my $txid = pay($address, 30_000_000);
    $node->generate(1);
    start_electrum('t', $t->port('tcp'));
    wallet('load_wallet');
    connected('tcp');
    $t->wait_for(sub { (found($txid) || {})->{confirmations} }, 20,
        'paid while it was away');
    is(scalar(my @now = history()), @history + 1, 'one more entry');
    is_deeply([map { $_->{txid} } @now[0 .. $#history]],
        [map { $_->{txid} } @history], 'the others as before');
};

stop_electrum();
my @log = grep {/invalid|Failure|mismatch|corrupt|unexpected/i}
    map { split /\n/, $t->read_file($_) } glob $t->path('electrum*.log');
is(join("\n", @log), '', 'the wallet complained of nothing');
$t->done;

# ---- the wallet -------------------------------------------------------------

sub start_electrum {
    my ($protocol, $port) = @_;
    my $name = 'electrum' . $daemons++;
    $t->start($name, env => { HOME => $t->path('electrum') }, cmd => [
        $t->program('electrum'), 'daemon', '--regtest', '-D',
        $t->path('electrum/dir'), '--oneserver', '--server',
        "127.0.0.1:$port:$protocol", '--rpcsock', 'tcp', '--rpchost',
        '127.0.0.1', '--rpcport', $t->port('electrum'), '--rpcuser', 'user',
        '--rpcpassword', 'pass', '-v']);
    $t->wait_for(sub { eval { info() } }, 40, 'the wallet answers');
}

sub stop_electrum {
    my $p = $t->proc('electrum' . ($daemons - 1));
    eval { wallet('stop') };
    $p->wait(15);
    $t->allow_exit($p->name);
    $p->stop;
}

# A command of the wallet's daemon: (result, error).
sub try_wallet {
    my ($method, %params) = @_;
    my $r = HTTP::Tiny->new(timeout => 60)->post(
        'http://127.0.0.1:' . $t->port('electrum') . '/', {
        headers => { Authorization => 'Basic '
            . MIME::Base64::encode_base64('user:pass', '') },
        content => JSON::PP::encode_json({ jsonrpc => '2.0', id => 1,
            method => $method, params => \%params }) });
    die "electrum: $r->{content}\n" if !$r->{success};
    my $a = JSON::PP::decode_json($r->{content});
    return ($a->{result}, $a->{error});
}

sub wallet {
    my ($result, $error) = try_wallet(@_);
    die "electrum $_[0]: $error->{message}\n" if $error;
    return $result;
}

sub info { return wallet('getinfo') }

sub connected {
    my ($what) = @_;
    $t->wait_for(sub {
        my $i = info();
        $i->{connected} && $i->{blockchain_height} == $node->height;
    }, 30, "wallet connected over $what");
    pass("connected over $what");
}

# 'confirmed/unconfirmed' in BTC.
sub balance {
    my $b = wallet('getbalance');
    return join '/', map { 0 + ($b->{$_} // 0) } qw(confirmed unconfirmed);
}

sub becomes {
    my ($want, $name) = @_;
    my $start = time;
    eval { $t->wait_for(sub { balance() eq $want }, 20, $name) };
    is(balance(), $want, $name);
    note sprintf '%.2f s', time - $start;
}

sub history {
    my $h = wallet('onchain_history');
    return @{ ref $h eq 'HASH' ? $h->{transactions} : $h };
}

sub found {
    my ($txid) = @_;
    my ($e) = grep { $_->{txid} eq $txid } history();
    return $e;
}

# ---- the other side ---------------------------------------------------------

sub pay {
    my ($to, $value) = @_;
    $s->rescan;
    my $coin = $coins->take(kind => 'true', min => $value + 10_000,
        confirmed => 1) or die 'no coin';
    my $script = pack 'H*',
        $node->rpc('validateaddress', $to)->{scriptPubKey};
    my $tx = $coins->make([$coin], [[$script, $value],
        [$coins->script('true'), $coin->{value} - $value - 2000]]);
    $node->send($tx->{hex});
    return $tx->{txid};
}

sub address_of {
    my ($script) = @_;
    my $d = $node->rpc('decodescript', unpack 'H*', $script);
    return $d->{address};
}
