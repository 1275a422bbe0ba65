#!/usr/bin/perl

# Bitcoin Cash: blocks in canonical order, tokens, cashaddr, from a node that
# has what this test builds.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Tx qw(build_tx txid_of scripthash sha256d display internal
    merkle_root);

my $B = 'blockchain';
my $GENESIS_TX = '0100000001' . '0' x 64 . 'ffffffff4d04ffff001d01044554686520'
    . '54696d65732030332f4a616e2f32303039204368616e63656c6c6f72206f6e20627269'
    . '6e6b206f66207365636f6e64206261696c6f757420666f722062616e6b73ffffffff01'
    . '00f2052a01000000434104678afdb0fe5548271967f1a67130b7105cd6a828e03909a6'
    . '7962e0ea1f61deb649f6bc3f4cef38c4f35504e51ec112de5c384df7ba0b8d578a4c70'
    . '2b6bf11d5fac00000000';
my $HASH = '76a04053bda0a88bda5177b86a15c3b29f559873';
my $ADDRESS = 'bchreg:qpm2qsznhks23z7629mms6s4cwef74vcwv6ycwvz78';
my $SCRIPT = pack 'H*', "76a914${HASH}88ac";
my $CATEGORY = join '', map { sprintf '%02x', $_ } 1 .. 32;
my $FUNGIBLE = "\xef" . internal($CATEGORY) . "\x10\xfd\xe8\x03";
my $NFT = "\xef" . internal($CATEGORY) . "\x71\x03abc\x05";
my %DATA = (
    $FUNGIBLE => { category => $CATEGORY, amount => '1000' },
    $NFT => { category => $CATEGORY, amount => '5',
        nft => { capability => 'mutable', commitment => '616263' } },
);

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer openssl)]);
my (@chain, @pool, %behind);    # blocks: [raw, hash, [txs in order]]
my $file = $t->path('chain');
my $port = $t->port('node');
genesis();
block() for 1 .. 20;
block(spends($_, 12)) for 1 .. 18;
write_chain();
$t->start('node', death => 'KILL', cmd => [$^X, 't/lib/ElectrumX/chain-node.pl',
    $port, $file]);
my %conf = (network => 'bitcoincash-regtest', live_window => 10,
    daemon_url => "http://u:p\@127.0.0.1:$port");
$t->start_indexer(%conf);
$t->start_nginx(workers => 1);
$t->wait_ready($#chain);
my %c = (old => $t->client('tcp'), new => $t->client('tcp'));
is($c{new}->request('server.version', 't', '1.5.3')->{result}[1], '1.5.3',
    'version in its own spelling');
cmp_ok($behind{all}, '>', 10, "$behind{all} inputs before their outputs");

subtest 'settled and live blocks' => \&same;
subtest 'mempool' => sub {
    @pool = map { $_->{raw} } @{ spends(19, 8) };
    write_chain();
    $t->wait_for(sub { @{ $c{new}->call("$B.address.get_mempool", $ADDRESS) }
        == @{ touching([map { $_->{raw} } parsed(@pool)]) } }, 20, 'mempool');
    same();
};
subtest 'a block of the mempool and others' => sub {
    my @in = map { { raw => $_, txid => txid_of($_) } } @pool;
    @pool = ();
    block([@in, @{ spends(20, 6) }]);
    write_chain();
    $t->wait_ready($#chain);
    same();
};
subtest 'reorganisation' => sub {
    my @undone = splice @chain, -2;
    block($undone[0][3]);
    block() for 1 .. 2;
    write_chain();
    $t->wait_for(sub { ($t->status->{hash} // '') eq $chain[-1][1]
        || $c{new}->call("$B.headers.get_tip")->{height} == $#chain }, 20,
        'other branch');
    $t->wait_ready($#chain);
    same();
};
subtest 'from nothing' => sub {
    $t->stop_indexer;
    $t->stop_nginx;
    my $program = $ENV{ELECTRUMX_INDEXER} || $t->build . '/electrumx-indexer';
    my $conf = $t->indexer_conf('check', %conf, data_dir => $t->data);
    my $out = `$program check -c $conf 2>&1`;
    is($?, 0, 'check finds nothing') or diag($out);
    $out = `$program check --full -c $conf 2>&1`;
    is($?, 0, 'nor does all of it') or diag($out);
    $t->start_indexer(%conf, data_dir => $t->path('again'), settle_batch => 2);
    $t->wait_ready($#chain);
    $t->start_nginx(workers => 1);
    %c = (old => $t->client('tcp'), new => $t->client('tcp'));
    $c{new}->request('server.version', 't', '1.5');
    same();
};
subtest 'methods' => \&methods;
$t->done;

sub genesis {
    my $raw = pack 'H*', $GENESIS_TX;
    my $root = sha256d($raw);
    my $head = pack('V', 1) . "\0" x 32 . $root
        . pack 'H*', 'dae5494dffff7f2002000000';
    push @chain, [$head . "\x01$raw", display(sha256d($head)), [$raw], []];
}

# A block of the transactions, by txid; none depends on another's place.
sub block {
    my ($txs) = @_;
    my $height = @chain;
    my $coinbase = build_tx(locktime => rand_number(), vin => [{
        txid => '0' x 64, vout => 0xffffffff, script => pack('CV', 4, $height) }],
        vout => [{ value => 5e9, script => "\x51" }]);
    my @txs = sort { $a->{txid} cmp $b->{txid} } @{ $txs || [] };
    my %at = map { $txs[$_]{txid} => $_ } 0 .. $#txs;
    for my $i (0 .. $#txs) {
        my ($tx) = parsed($txs[$i]{raw});
        $behind{all} += grep { ($at{ $_->{txid} } // -1) > $i } @{ $tx->{vin} };
    }
    my @raw = ($coinbase, map { $_->{raw} } @txs);
    my $root = merkle_root(map { sha256d($_) } @raw);
    my $head = pack('V', 0x20000000) . internal($chain[-1][1]) . $root
        . pack 'V3', 1600000000 + $height, 0x207fffff, rand_number();
    push @chain, [$head . chr(@raw) . join('', @raw),
        display(sha256d($head)), \@raw, $txs || []];
}

my $number;
sub rand_number { return ++$number }

sub parsed { return map { ElectrumX::Tx::parse_tx($_) } @_ }

# A chain of transactions from a coinbase, to the script, with tokens or not.
sub spends {
    my ($height, $n) = @_;
    my ($txid, $vout, $value) = (txid_of($chain[$height][2][0]), 0, 5e9);
    my @txs;
    for my $i (1 .. $n) {
        $value -= 3000;
        my $raw = build_tx(vin => [{ txid => $txid, vout => $vout }],
            locktime => rand_number(), vout => [
                { value => 1000 + $i, script => $SCRIPT },
                { value => $value, script => $i % 2 ? "\x51" : "$FUNGIBLE\x51" },
                { value => 600, script => ($i % 2 ? $NFT : $FUNGIBLE) . $SCRIPT },
                { value => 700, script => "\xef\x01$SCRIPT" }]);
        ($txid, $vout) = (txid_of($raw), 1);
        push @txs, { raw => $raw, txid => $txid };
    }
    return \@txs;
}

sub write_chain {
    $t->write_file('chain.new', join '', map({"block @{[unpack 'H*', $_->[0]]}\n"}
        @chain), map {"tx @{[unpack 'H*', $_]}\n"} @pool);
    rename "$file.new", $file or die "$file: $!";
}

# All transactions that pay to the script: [txid, height].
sub touching {
    my ($raws, $height) = @_;
    return [grep { grep { ($_->{script} =~ s/^(?:\Q$NFT\E|\Q$FUNGIBLE\E)//r)
        eq $SCRIPT } @{ $_->{vout} } } parsed(@$raws)];
}

# Answers about the script, held against the chain.
sub same {
    my $sh = scripthash($SCRIPT);
    my (@history, @all, %sum);
    for my $h (0 .. $#chain) {
        for my $tx (@{ touching($chain[$h][2]) }) {
            push @history, { tx_hash => $tx->{txid}, height => $h };
            push @all, outputs($tx, $h);
        }
    }
    is_deeply([grep { $_->{height} > 0 }
        @{ $c{new}->call("$B.address.get_history", $ADDRESS) }], \@history,
        'history in the order of the blocks');
    push @all, outputs($_, 0) for @{ touching(\@pool) };
    for my $u (@all) {
        my $kind = $u->{height} ? 'confirmed' : 'unconfirmed';
        $sum{$_}{$kind} += $u->{value} for 'include_tokens',
            $u->{token_data} ? 'tokens_only' : 'exclude_tokens';
    }
    for my $f (sort keys %sum) {
        my @want = grep { $f eq 'include_tokens'
            || !!$_->{token_data} == ($f eq 'tokens_only') } @all;
        my $want = { confirmed => 0, unconfirmed => 0, %{ $sum{$f} } };
        is_deeply(by_place($c{old}->call("$B.scripthash.listunspent", $sh, $f)),
            by_place(\@want), "unspent, $f");
        is_deeply($c{old}->call("$B.scripthash.get_balance", $sh, uc $f), $want,
            "balance, $f");
        next if $f eq 'tokens_only';
        my $c = $c{ $f eq 'include_tokens' ? 'new' : 'old' };
        is_deeply($c->call("$B.address.get_balance", $ADDRESS), $want,
            'which is the default');
    }
    for my $u (@all[-8 .. -1], @all[0 .. 3]) {
        is_deeply($c{new}->call("$B.utxo.get_info", $u->{tx_hash}, $u->{tx_pos}),
            { value => $u->{value}, scripthash => $sh,
                $u->{height} ? (confirmed_height => $u->{height}) : (),
                $u->{token_data} ? (token_data => $u->{token_data}) : () },
            'utxo.get_info');
    }
    my $bad = $c{new}->call("$B.scripthash.listunspent",
        scripthash("\xef\x01$SCRIPT"), 'exclude_tokens');
    is(scalar @$bad, @all / 2, 'malformed token data are of the script');
}

sub outputs {
    my ($tx, $height) = @_;
    my @u;
    for my $i (0, 2) {
        my $o = $tx->{vout}[$i];
        my ($token) = grep { index($o->{script}, $_) == 0 } keys %DATA;
        push @u, { tx_hash => $tx->{txid}, tx_pos => $i, height => $height,
            value => $o->{value},
            $token ? (token_data => $DATA{$token}) : () };
    }
    return @u;
}

sub by_place {
    my ($list) = @_;
    return [sort { $a->{height} <=> $b->{height}
        || $a->{tx_hash} cmp $b->{tx_hash} || $a->{tx_pos} <=> $b->{tx_pos} }
        @$list];
}

sub methods {
    my $f = $c{new}->call('server.features');
    ok($f->{cashtokens} && !$f->{dsproof} && exists $f->{dsproof}, 'features');
    ok(!exists $f->{rpa}, 'no rpa');
    is($f->{genesis_hash}, $chain[0][1], 'genesis');
    for my $m (qw(transaction.dsproof.get transaction.dsproof.list
        transaction.dsproof.subscribe transaction.dsproof.unsubscribe
        rpa.get_history rpa.get_mempool reusable.get_history))
    {
        is($c{new}->error_of("$B.$m", 'ab' x 32)->{code}, -32601, $m);
    }
    for my $a (substr($ADDRESS, 7), uc $ADDRESS, 'mrLC19Je2BuWQDkWSTriGYPyQJXKkkBmCx')
    {
        is($c{new}->call("$B.address.get_scripthash", $a), scripthash($SCRIPT),
            $a);
    }
    like($c{new}->error_of("$B.address.get_balance",
        'bitcoincash:qpm2qsznhks23z7629mms6s4cwef74vcwvy22gdx6a')->{message},
        qr/not a valid address/, 'an address of another network');
    is($c{new}->error_of("$B.scripthash.get_balance", 'ab' x 32, $_)->{code},
        -32602, "token_filter $_") for '', 'tokens', 'include_tokens ';
    cmp_ok($c{new}->call("$B.estimatefee", 2), '==', 0.00001, 'estimatefee');
}
