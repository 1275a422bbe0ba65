# Fees, the mempool and the server itself; read by t/305-cases.t.
use strict;
use warnings;

my $checked = sub { my ($check) = @_; sub { my @k = @_;
    sub { $check->($_[0], @k) ? undef : 'not as expected: '
        . JSON::PP->new->canonical->allow_nonref->encode($_[0]) } } };
my $minus = sub {-1};
my @features = qw(genesis_hash hash_function hosts protocol_max protocol_min
    pruning server_version services);

my $pong = sub { my ($n) = @_; sub { $_[1] eq '1.7'
    ? { data => '0' x $n } : undef } };

[
    { method => 'blockchain.estimatefee', params => [['number', 'uint'],
            ['mode', 'any', 1]],
        good => [
            [[6], $minus], [['6'], $minus], [[2, 'CONSERVATIVE'], $minus],
            [[2, 'economical'], $minus], [[1008, 'Conservative'], $minus],
            [[6, 5], $minus], [[6, [1]], $minus], [[100_000], $minus],
        ],
        fail => [
            [[6, 'fast'], 1, 'unknown estimatefee mode'],
            [[6, ''], 1, 'unknown estimatefee mode'],
        ] },
    { method => 'blockchain.relayfee', params => [],
        good => [[[], $checked->(sub { my ($got, $k) = @_;
            $got == $k->{node}->rpc('getnetworkinfo')->{relayfee} })]] },
    { method => 'mempool.get_fee_histogram', params => [],
        good => [[[], $checked->(sub { my ($got) = @_;
            ref $got eq 'ARRAY' && !grep { @$_ != 2 || $_->[1] <= 0 } @$got })]] },
    { method => 'mempool.get_info', params => [],
        good => [[[], $checked->(sub { my ($got, $k) = @_;
            my $i = $k->{node}->rpc('getmempoolinfo');
            my @want = grep { defined $i->{$_} } qw(mempoolminfee
                minrelaytxfee incrementalrelayfee);
            "@{[sort keys %$got]}" eq "@{[sort @want]}"
                && !grep { $got->{$_} != $i->{$_} } @want })]] },
    { method => 'mempool.recent', params => [],
        good => [[[], $checked->(sub { my ($got, $k) = @_;
            @$got == 10 && !grep { my $e = $k->{p}{pool}{ $_->{txid} };
                "@{[sort keys %$_]}" ne 'fee txid vsize' || !$e
                    || $_->{fee} != $e->{fee}
                    || $_->{vsize} != $e->{tx}{vsize} } @$got })]] },
    # for clients of electrumx_passthrough only; t/385 has more
    { method => 'daemon.passthrough', params => [],
        good => [],
        fail => [map { [$_, -32601,
            'daemon.passthrough is not for this client'] } [], ['help'],
            { method => 'help' }, [[], 5, {}]] },
    { method => 'server.version', extra => 1,
        params => [['client_name', 'any', 1], ['protocol_version', 'any', 1]],
        good => [],
        fail => [map { [$_, 1, 'server.version already sent'] } [],
            ['x'], ['x', '1.4'], ['x', ['1.4', '1.7']], ['x', '0.1'], [{}, 5],
            ['x', '1.4', 'surplus']] },
    { method => 'server.ping', params => [['pong_len', 'uint', 1],
            ['data', 'string', 1]],
        good => [
            [[], $pong->(0)], [[0], $pong->(0)], [['3'], $pong->(3)],
            [[5, ''], $pong->(5)], [[70_000, '00'], $pong->(70_000)],
        ],
        fail => [
            [[1, 'x'], -32602, 'data: hex digits expected', qr/^1\.7/],
            [[10_000_000], 1, 'pong_len value too high', qr/^1\.7/],
        ] },
    { method => 'server.banner', params => [],
        good => [[[], $checked->(sub { !ref $_[0] && length $_[0] })]] },
    { method => 'server.donation_address', params => [],
        good => [[[], sub {''}]] },
    { method => 'server.features', params => [],
        good => [[[], $checked->(sub { my ($got, $k, $v) = @_;
            my @want = grep { $v ne '1.7' || $_ ne 'hash_function' } @features;
            "@{[sort keys %$got]}" eq "@want"
                && $got->{genesis_hash} eq $k->{node}->hash_at(0)
                && $got->{protocol_min} eq '1.4'
                && $got->{protocol_max} eq '1.7'
                && ($got->{hash_function} // 'sha256') eq 'sha256' })]] },
    { method => 'server.peers.subscribe', params => [],
        good => [[[], sub { [] }]] },
    { method => 'server.add_peer', params => [['features', 'any']],
        good => [[[{}], sub { JSON::PP::false() }]] },
]
