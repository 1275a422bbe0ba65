#!/usr/bin/perl

# Each method with its arguments by name, as the specification and Electrum
# Cash's have them: the answer is the one by position; other names are refused.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Tx qw(scripthash);
use FindBin ();
use JSON::PP ();

my $JSON = JSON::PP->new->allow_nonref->canonical;
my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $s = ElectrumX::Scenario->new($t, free_only => 1);
my $node = $s->{node};
$node->generate(5);
$s->serve(nginx => { electrumx => 'electrumx_passthrough 127.0.0.1;' });
my $c = $t->client('tcp');

my $block = $node->rpc('getblock', $node->hash_at(2), 2);
my $txid = $block->{tx}[0]{txid};
my $out = $block->{tx}[0]{vout}[0]{scriptPubKey};
my $spk = $out->{hex};
my $sh = scripthash(pack 'H*', $spk);
my $address = $out->{address} // '2N9yPzPnU5rSyHmQHvAQhzwDW5WAZxP3oUC';
my $raw = $block->{tx}[0]{hex};
my @from = (from_height => 1, to_height => 9);

my @METHODS = (
    ['blockchain.block.header', height => 2, cp_height => 4],
    ['blockchain.block.headers', start_height => 1, count => 2,
        cp_height => 4],
    ['blockchain.header.get', block_hash => $node->hash_at(2)],
    ['blockchain.block.stats', height => 2],
    (map { ["blockchain.scripthash.$_", scripthash => $sh] }
        qw(get_balance get_mempool listunspent subscribe unsubscribe get_status
        get_first_use)),
    ['blockchain.scripthash.get_history', scripthash => $sh, @from],
    (map { ["blockchain.scriptpubkey.$_", scriptpubkey => $spk] }
        qw(get_balance get_mempool listunspent subscribe unsubscribe)),
    ['blockchain.scriptpubkey.get_history', scriptpubkey => $spk, @from],
    (map { ["blockchain.address.$_", address => $address] }
        qw(get_balance get_mempool listunspent subscribe unsubscribe get_status
        get_first_use get_scripthash)),
    ['blockchain.address.get_history', address => $address, @from],
    ['blockchain.transaction.broadcast', raw_tx => $raw],
    ['blockchain.transaction.broadcast_package', raw_txs => [$raw],
        verbose => 0],
    ['blockchain.transaction.get', tx_hash => $txid,
        verbose => JSON::PP::true()],
    ['blockchain.transaction.get_merkle', tx_hash => $txid, height => 2],
    ['blockchain.transaction.id_from_pos', height => 2, tx_pos => 0,
        merkle => JSON::PP::true()],
    ['blockchain.transaction.testmempoolaccept', raw_txs => [$raw]],
    ['blockchain.transaction.get_height', tx_hash => $txid],
    ['blockchain.transaction.get_confirmed_blockhash', tx_hash => $txid,
        include_header => JSON::PP::true()],
    ['blockchain.transaction.subscribe', tx_hash => $txid],
    ['blockchain.transaction.unsubscribe', tx_hash => $txid],
    ['blockchain.utxo.get_info', tx_hash => $txid, out_n => 0],
    (map { ["blockchain.outpoint.$_", tx_hash => $txid, txout_idx => 0,
        spk_hint => $spk] } qw(subscribe get_status)),
    ['blockchain.outpoint.unsubscribe', tx_hash => $txid, txout_idx => 0],
    ['blockchain.estimatefee', number => 6, mode => 'ECONOMICAL'],
    ['server.version', client_name => 'x', protocol_version => '1.4'],
    ['server.ping', pong_len => 3, data => '00'],
    ['server.add_peer', features => {}],
    ['daemon.passthrough', method => 'getblockhash', params => [2]],
    (map { [$_] } qw(blockchain.headers.subscribe blockchain.headers.get_tip
        blockchain.headers.unsubscribe blockchain.relayfee
        mempool.get_fee_histogram mempool.get_info mempool.recent
        server.banner server.donation_address server.features
        server.peers.subscribe)),
);

subtest 'by name' => \&by_name;
subtest 'other names' => \&aliases;
subtest 'all methods' => \&all_of_them;
$t->done;

# What is answered to params, without its id.
sub ask {
    my ($client, $method, $params) = @_;
    my $a = $client->answer($client->send_request($method, $params));
    delete $a->{id};
    return $a;
}

sub by_name {
    for my $m (@METHODS) {
        my ($method, @args) = @$m;
        my %named = @args;
        my @list = @args[grep { $_ % 2 } 0 .. $#args];
        my ($first, $second) = ($c, $c);
        ($first, $second) = map { $t->client('tcp') } 1, 2
            if $method =~ /version$|subscribe$/;
        my $want = ask($first, $method, \@list);
        is_deeply(ask($second, $method, \%named), $want, $method)
            or diag $JSON->encode($want);
        unlike($JSON->encode($want), qr/-32602/, 'its arguments are right');
        next if $method =~ /^(?:server\.version|daemon\.passthrough)$/;
        my $e = ask($second, $method, { %named, other => 1 })->{error} || {};
        is($e->{message}, 'unknown argument: other', 'one name too many');
    }
}

sub aliases {
    for my $a (['blockchain.scriptpubkey.get_history', 'spk', $spk],
        ['blockchain.header.get', 'height', 2])
    {
        my ($method, $name, $value) = @$a;
        is_deeply(ask($c, $method, { $name => $value }),
            ask($c, $method, [$value]), "$method: $name");
    }
    is(ask($c, 'blockchain.block.header', { height => 1, cp_height => undef })
        ->{result}, ask($c, 'blockchain.block.header', [1])->{result},
        'null is as not given');
    is(ask($c, 'blockchain.block.header', { cp_height => 1 })
        ->{error}{message}, 'height: missing argument', 'a name is missing');
}

sub all_of_them {
    open my $fh, '<', "$FindBin::Bin/../ngx_electrumx_module/"
        . 'ngx_electrumx_methods.c' or die $!;
    my @source = map {/ngx_string\("([\w.]+)"\)/} <$fh>;
    is(join(' ', sort map { $_->[0] } @METHODS), join(' ', sort @source),
        'are in the table of this test');
}
