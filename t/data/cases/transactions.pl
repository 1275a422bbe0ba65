# Transactions and outputs; read by t/305-cases.t.
use strict;
use warnings;

my ($TRUE, $FALSE) = (JSON::PP::true(), JSON::PP::false());
my $bool = sub { sub { ref $_[0] eq 'JSON::PP::Boolean' ? undef
    : 'not true or false' } };
my $T = 'blockchain.transaction';
my $JSON = JSON::PP->new->canonical->allow_nonref;

my $verbose = sub {
    my ($txid) = @_;
    return sub {
        my ($k) = @_;
        my ($h) = $k->{p}->where($k->{$txid});
        my $want = $k->{node}->rpc('getrawtransaction', $k->{$txid}, 1,
            $h ? $k->{node}->hash_at($h) : ());
        delete $want->{in_active_chain};
        return sub {
            my ($got) = @_;
            my ($g, $w) = map { $JSON->encode($_) } $got, $want;
            return $g eq $w ? undef : "$g, wanted $w";
        };
    };
};

my $height = sub { my ($txid) = @_; sub { my ($k) = @_;
    return undef if $txid eq 'none';
    return ($k->{p}->where($k->{$txid}))[0] // 0 } };

my $outpoint = sub {
    my ($which, @more) = @_;
    return sub { [@{ $_[0]{$which} }{qw(txid vout)}, @more] };
};

my $funded = sub { { funder_height => $_[0]{unspent}{height} } };
my $spending = sub {
    my ($k) = @_;
    my $txid = $k->{spending}{spent_pool};
    return { funder_height => $k->{spending}{height}, spender_txhash => $txid,
        spender_height => $k->{p}{pool}{$txid}{height} };
};
my @out = (['tx_hash', 'hash'], ['txout_idx', 'uint']);
my @hint = ['spk_hint', 'script', 1];
my @outpoints = (
    [$outpoint->('unspent'), $funded],
    [$outpoint->('unspent', '51'), $funded],
    [$outpoint->('unspent', ''), $funded],
    [$outpoint->('spending'), $spending],
    [sub { [$_[0]{none}, 0] }, sub { {} }],
    [sub { [$_[0]{none}, 4_294_967_295] }, sub { {} }],
);
my @too_high = [sub { [$_[0]{none}, 4_294_967_296] }, -32602,
    'txout_idx: less than 2^32 expected'];

my $confirmed = sub {
    my ($k) = @_;
    my ($h) = $k->{p}->where($k->{txid});
    return { block_hash => $k->{node}->hash_at($h), block_height => $h };
};
my $with_header = sub {
    my ($k) = @_;
    my $r = $confirmed->($k);
    return { %$r, block_header => $k->{p}->header($r->{block_height}) };
};

[
    { method => "$T.get", params => [['tx_hash', 'hash'],
            ['verbose', 'bool', 1]],
        good => [
            [sub { [$_[0]{txid}] }, sub { $_[0]{p}->raw($_[0]{txid}) }],
            [sub { [uc $_[0]{txid}] }, sub { $_[0]{p}->raw($_[0]{txid}) }],
            [sub { [$_[0]{pool}, $FALSE] },
                sub { $_[0]{p}->raw($_[0]{pool}) }],
            [sub { [$_[0]{pool}, 0] }, sub { $_[0]{p}->raw($_[0]{pool}) }],
            [sub { [$_[0]{txid}, $TRUE] }, $verbose->('txid')],
            [sub { [$_[0]{pool}, 1] }, $verbose->('pool')],
        ],
        fail => [
            [sub { [$_[0]{none}] }, 2, qr/^daemon error: .*No such mempool/],
            [sub { [$_[0]{none}, $TRUE] }, 2, qr/^daemon error: /],
        ] },
    { method => "$T.get_merkle", params => [['tx_hash', 'hash'],
            ['height', 'uint', 1]],
        good => [
            [sub { [$_[0]{txid}, ($_[0]{p}->where($_[0]{txid}))[0]] },
                sub { $_[0]{p}->merkle($_[0]{txid}) }],
            [sub { [$_[0]{txid}] }, sub { $_[0]{p}->merkle($_[0]{txid}) }],
        ],
        fail => [
            [sub { [$_[0]{txid}, 3] }, 1,
                qr/^tx [0-9a-f]{64} not in block at height 3$/],
            [sub { [$_[0]{none}, 3] }, 1,
                qr/^tx (?:ab){32} not in block at height 3$/],
            [sub { [$_[0]{txid}, 100_000] }, 1,
                qr/^tx \w+ not in block at height 100000$/],
            [sub { [$_[0]{pool}] }, 1, qr/\w/],
            [sub { [$_[0]{none}] }, 1, qr/\w/],
        ] },
    { method => "$T.id_from_pos", params => [['height', 'uint'],
            ['tx_pos', 'uint'], ['merkle', 'bool', 1]],
        good => [
            [[110, 0], sub { ($_[0]{p}->txids(110))[0] }],
            [['110', '0', $FALSE], sub { ($_[0]{p}->txids(110))[0] }],
            [[110, 0, $TRUE], sub { $_[0]{p}->id_from_pos(110, 0) }],
            [[0, 0, 1], sub { $_[0]{p}->id_from_pos(0, 0) }],
        ],
        fail => [
            [[110, 5000], 1,
                'no tx at position 5000 in block at height 110'],
            [[100_000, 0], 1, qr/^no tx at position 0 in block at height 100000$/],
        ] },
    { method => "$T.get_height", params => [['tx_hash', 'hash']],
        good => [map { my $w = $_; [sub { [$_[0]{$w}] }, $height->($w)] }
            qw(txid pool none)] },
    { method => "$T.get_confirmed_blockhash",
        params => [['tx_hash', 'hash'], ['include_header', 'bool', 1]],
        good => [
            [sub { [$_[0]{txid}] }, $confirmed],
            [sub { [$_[0]{txid}, $FALSE] }, $confirmed],
            [sub { [$_[0]{txid}, $TRUE] }, $with_header],
        ],
        fail => [map { my $w = $_; [sub { [$_[0]{$w}] }, 1,
            'no confirmed transaction with this hash'] } qw(pool none)] },
    { method => "$T.subscribe", params => [['tx_hash', 'hash']],
        good => [map { my $w = $_; [sub { [$_[0]{$w}] }, $height->($w)] }
            qw(txid pool none)] },
    { method => "$T.unsubscribe", params => [['tx_hash', 'hash']],
        good => [[sub { [$_[0]{none}] }, $bool]] },
    { method => 'blockchain.utxo.get_info', params => [['tx_hash', 'hash'],
            ['out_n', 'uint']],
        good => [
            [$outpoint->('unspent'), sub { my ($k) = @_;
                my $o = $k->{unspent};
                return { value => $o->{value}, scripthash => $o->{sh},
                    confirmed_height => $o->{height} } }],
            [$outpoint->('spending'), sub {undef}],
            [sub { [$_[0]{none}, 0] }, sub {undef}],
            [sub { [$_[0]{txid}, 60_000] }, sub {undef}],
        ] },
    { method => 'blockchain.outpoint.subscribe', params => [@out, @hint],
        good => \@outpoints, fail => \@too_high },
    { method => 'blockchain.outpoint.get_status', params => [@out, @hint],
        good => \@outpoints, fail => \@too_high },
    { method => 'blockchain.outpoint.unsubscribe', params => [@out],
        good => [[$outpoint->('unspent'), $bool]], fail => \@too_high },
    { method => "$T.broadcast", params => [['raw_tx', 'hex']],
        good => [[sub { [$_[0]{p}->raw($_[0]{pool})] },
            sub { $_[0]{pool} }]],
        fail => [
            [['00'], 1, qr/^the transaction was rejected by network rules\.\n\nTX decode failed.*\n\[00\]\z/s],
            [sub { [$_[0]{p}->raw($_[0]{txid})] }, 1,
                qr/^the transaction was rejected by network rules\.\n\n\w/],
        ] },
    { method => "$T.broadcast_package", params => [['raw_txs', 'hexes'],
            ['verbose', 'bool', 1]],
        valid => [['00', '01']],
        good => [],
        fail => [
            [[['00', '01']], 1, qr/\w/],
            [[['00'], $TRUE], 1, qr/\w/],
        ] },
    { method => "$T.testmempoolaccept", params => [['raw_txs', 'hexes']],
        good => [[sub { [[$_[0]{p}->raw($_[0]{txid})]] }, sub { my ($k) = @_;
            my ($r) = @{ $k->{node}->rpc('testmempoolaccept',
                [$k->{p}->raw($k->{txid})]) };
            return [{ txid => $k->{txid}, wtxid => $r->{wtxid},
                allowed => $FALSE, reason => $r->{'reject-reason'} }] }]],
        fail => [[[['00']], 2, qr/^daemon error: .*TX decode failed/]] },
]
