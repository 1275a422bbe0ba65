# Blocks and headers; read by t/305-cases.t.
use strict;
use warnings;

my $tip = sub {
    my ($k) = @_;
    return { height => $k->{top}, hex => $k->{p}->header($k->{top}) };
};
my $bool = sub { sub { ref $_[0] eq 'JSON::PP::Boolean' ? undef
    : 'not true or false' } };

# The list has another name from 1.6 on.
my $headers = sub {
    my @range = @_;
    return sub { my ($k, $v) = @_;
        $k->{p}->headers(@range, $v =~ /^1\.[67]/ ? '1.6' : '1.4') };
};

my $header = sub { my ($h) = @_;
    sub { { height => $h, hex => $_[0]{p}->header($h) } } };

[
    { method => 'blockchain.block.header',
        params => [['height', 'uint'], ['cp_height', 'uint', 1]],
        good => [
            [[7], sub { $_[0]{p}->header(7) }],
            [[0], sub { $_[0]{p}->header(0) }],
            [['7'], sub { $_[0]{p}->header(7) }],
            [[7, 0], sub { $_[0]{p}->header(7) }],
            [[7, 7], sub { $_[0]{p}->header_proof(7, 7) }],
            [[0, 100], sub { $_[0]{p}->header_proof(0, 100) }],
            [[60, '101'], sub { $_[0]{p}->header_proof(60, 101) }],
            [sub { [$_[0]{top}] }, sub { $_[0]{p}->header($_[0]{top}) }],
        ],
        fail => [
            [sub { [$_[0]{top} + 1] }, 1, qr/^height \d+ out of range$/],
            [[4_294_967_296], 1, 'height 4294967296 out of range'],
            [[7, 6], 1, qr/^require header height 7 <= cp_height 6 <= chain height \d+$/],
            [sub { [0, $_[0]{top} + 1] }, 1, qr/^require header height 0 <= /],
        ] },
    { method => 'blockchain.block.headers',
        params => [['start_height', 'uint'], ['count', 'uint'],
            ['cp_height', 'uint', 1]],
        good => [
            [[0, 3], $headers->(0, 3, 0)],
            [[5, 1, 0], $headers->(5, 1, 0)],
            [[5, 0], $headers->(5, 0, 0)],
            [['5', '2', '50'], $headers->(5, 2, 50)],
            [[0, 2016], $headers->(0, 2016, 0)],
            [[100, 100_000], $headers->(100, 100_000, 0)],
            [[100_000, 10], $headers->(100_000, 10, 0)],
            [[7, 0, 50], $headers->(7, 0, 50)],
        ],
        fail => [
            [[5, 10, 6], 1, qr/^require header height 14 <= cp_height 6 <= /],
            [[0, 1, 100_000], 1, qr/^require header height 0 <= cp_height 100000 <= /],
        ] },
    { method => 'blockchain.headers.subscribe', params => [],
        good => [[[], $tip], [{}, $tip]] },
    { method => 'blockchain.headers.unsubscribe', params => [],
        good => [[[], $bool]] },
    { method => 'blockchain.headers.get_tip', params => [],
        good => [[[], $tip]] },
    { method => 'blockchain.header.get', params => [['block_hash', 'any']],
        good => [
            [[7], $header->(7)],
            [['0'], $header->(0)],
            [sub { [$_[0]{block}] }, $header->(7)],
            [sub { [uc $_[0]{block}] }, $header->(7)],
        ],
        fail => [
            (map { [[$_], -32602, 'block: a height or a block hash expected'] }
                -1, 1.5, 'x', '', 'ab', [], {}, undef, JSON::PP::true()),
            [[100_000], 1, 'height 100000 out of range'],
            [sub { [$_[0]{none}] }, 2, qr/^daemon error: ./],
        ] },
    { method => 'blockchain.block.stats', params => [['height', 'uint']],
        good => [
            [[110], sub { my ($k) = @_;
                my $s = $k->{node}->rpc('getblockstats', 110);
                return { map { $_ => $s->{$_} } qw(height blockhash
                    feerate_percentiles total_weight txs time) } }],
        ],
        fail => [[[100_000], 1, 'height 100000 out of range']] },
]
