#!/usr/bin/perl

# blockchain.block.* and blockchain.headers.subscribe: shapes, proofs checked
# by climbing them, limits, errors, notifications.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Tx qw(sha256d display internal);
use JSON::PP ();

my $B = 'blockchain.block';
my $HEADERS = 'blockchain.headers.subscribe';
my $JSON = JSON::PP->new->allow_nonref->canonical;

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $s = ElectrumX::Scenario->new($t, free_only => 1);
my $node = $s->{node};
$node->generate(2100);
$s->serve(indexer => { live_window => 20 });
my ($old, $new) = map { $t->client('tcp') } 1, 2;
$old->version('1.4');
$new->version('1.6');
my $top = $node->height;
my @header = map { $node->rpc('getblockheader', $_, JSON::PP::false()) }
    $node->rpc_batch(map { ['getblockhash', $_] } 0 .. $top);

subtest 'one header' => \&one;
subtest 'many headers' => \&many;
subtest 'proofs' => \&proofs;
subtest 'numbers in other spellings' => \&spellings;
subtest 'errors' => \&errors;
subtest 'subscription' => \&subscription;
subtest 'subscription in a reorg' => \&reorg;
$t->done;

sub one {
    for my $h (0, 1, 15, 2015, $top - 21, $top - 20, $top - 19, $top) {
        is($new->call("$B.header", $h), $header[$h], "height $h");
    }
    is($new->call("$B.header", 5, 0), $header[5], 'cp_height 0: no proof');
}

sub many {
    for my $r ([0, 1], [0, 5], [0, 0], [5, 0], [$top, 1], [$top, 10],
        [$top - 30, 31], [$top + 1, 5], [$top + 100, 1], [0, 2016],
        [0, 5000], [84, 2016], [85, 2016], [1, 1e15], [1e15, 1])
    {
        my ($start, $count) = @$r;
        my $last = $start + ($count > 2016 ? 2016 : $count) - 1;
        $last = $top if $last > $top;
        my @want = $start <= $last ? @header[$start .. $last] : ();
        is_deeply($old->call("$B.headers", $start, $count),
            { hex => join('', @want), count => scalar @want, max => 2016 },
            "$start, $count: 1.4");
        is_deeply($new->call("$B.headers", $start, $count),
            { headers => \@want, count => scalar @want, max => 2016 },
            "$start, $count: 1.6");
    }
}

# The root that the branch leads to.
sub climb {
    my ($hex, $height, $branch) = @_;
    my $hash = sha256d(pack 'H*', $hex);
    for my $sibling (map { internal($_) } @$branch) {
        $hash = sha256d($height % 2 ? $sibling . $hash : $hash . $sibling);
        $height >>= 1;
    }
    return display($hash);
}

# The root over all headers up to a height, computed the plain way.
sub root {
    my ($cp) = @_;
    my @level = map { sha256d(pack 'H*', $_) } @header[0 .. $cp];
    while (@level > 1) {
        push @level, $level[-1] if @level % 2;
        @level = map { sha256d($level[2 * $_] . $level[2 * $_ + 1]) }
            0 .. @level / 2 - 1;
    }
    return display($level[0]);
}

sub proofs {
    for my $cp (1, 2, 3, 7, 8, 100, $top - 21, $top - 20, $top - 1, $top) {
        my $root = root($cp);
        for my $h (map {int} 0, 1, $cp / 2, $cp - 1, $cp) {
            my $r = $new->call("$B.header", $h, $cp);
            is(join(' ', sort keys %$r), 'branch header root', 'members');
            is($r->{header}, $header[$h], "$h of $cp: header");
            is($r->{root}, $root, 'root');
            is(climb($header[$h], $h, $r->{branch}), $root, 'branch');
        }
        my $r = $new->call("$B.headers", 0, $cp > 1000 ? 1000 : $cp, $cp);
        my $last = $r->{count} - 1;
        is($r->{root}, $root, 'root of many');
        is(climb($header[$last], $last, $r->{branch}), $root,
            'branch of the last one');
        $r = $old->call("$B.headers", $cp, 1, $cp);
        is(climb($header[$cp], $cp, $r->{branch}), $r->{root}, '1.4');
    }
    my $none = $new->call("$B.headers", 5, 0, 10);
    ok(!exists $none->{root}, 'no headers, no proof');
    $none = $new->call("$B.headers", $top + 1, 5, 10);
    ok(!exists $none->{root}, 'nor beyond the tip');
}

sub spellings {
    for my $p ('["15"]', '[15.0]', '["15.00"]', '{"height":15}',
        '{"cp_height":0,"height":"15"}', '[15,null]')
    {
        $new->send_text(qq({"id":9,"method":"$B.header","params":$p}));
        is($new->answer(9)->{result}, $header[15], $p);
    }
    my $id = $new->send_request("$B.headers",
        { count => 2, start_height => 5 });
    is($new->answer($id)->{result}{count}, 2, 'block.headers by name');
}

sub errors {
    my @t = (
        ["$B.header", [$top + 1], 1, qr/^height \d+ out of range$/],
        ["$B.header", [2**40], 1, qr/out of range/],
        ["$B.header", ['9' x 18], 1, qr/out of range/],
        ["$B.header", [5, 4], 1, qr/^require header height 5 <= cp_height 4 /],
        ["$B.header", [5, $top + 1], 1, qr/<= chain height $top$/],
        ["$B.header", [5, 2**40], 1, qr/^require header height/],
        ["$B.headers", [5, 3, 6], 1, qr/^require header height 7 /],
        ["$B.headers", [5, 3, $top + 1], 1, qr/^require header height/],
        ["$B.header", [], -32602, qr/^height: missing argument$/],
        ["$B.header", [undef], -32602, qr/^height: a non-negative integer/],
        ["$B.header", [-1], -32602, qr/^height: a non-negative integer/],
        ["$B.header", [1.5], -32602, qr/^height: a non-negative integer/],
        ["$B.header", [JSON::PP::true()], -32602, qr/^height: /],
        ["$B.header", ['x'], -32602, qr/^height: /],
        ["$B.header", [''], -32602, qr/^height: /],
        ["$B.header", [[]], -32602, qr/^height: /],
        ["$B.header", ['9' x 20], -32602, qr/^height: /],
        ["$B.header", [1, -1], -32602, qr/^cp_height: /],
        ["$B.header", [1, 2, 3], -32602, qr/^too many arguments/],
        ["$B.header", { height => 1, x => 2 }, -32602,
            qr/^unknown argument: x$/],
        ["$B.headers", [1], -32602, qr/^count: missing argument$/],
        ["$B.headers", [1, 'many'], -32602, qr/^count: /],
        ["$B.headers", [1, 2, 3, 4], -32602, qr/^too many arguments/],
        [$HEADERS, [JSON::PP::true()], -32602, qr/^too many arguments/],
    );
    for my $x (@t) {
        my ($method, $params, $code, $words) = @$x;
        my $name = $JSON->encode($params);
        my $e = $old->answer($old->send_request($method, $params))->{error};
        is($e->{code}, $code, "$method $name");
        like($e->{message}, $words, 'in words');
    }
}

sub subscription {
    my $tip = { height => $top, hex => $header[$top] };
    my $ws = $t->client('ws');
    is_deeply($_->call($HEADERS), $tip, 'the tip') for $old, $new, $ws;
    is_deeply($new->call($HEADERS), $tip, 'a second time');
    $node->generate(1);
    $top++;
    push @header, $node->rpc('getblockheader', $node->tip, JSON::PP::false());
    $tip = { height => $top, hex => $header[$top] };
    is_deeply($_->notification($HEADERS, 10), [$tip], 'notified')
        for $old, $new, $ws;
    ok($new->no_notification($HEADERS, 0.5), 'only once');
    is_deeply($ws->call($HEADERS), $tip, 'the new tip');
    $ws->close;
}

# Lower and higher tips of another branch; what is announced is served.
sub reorg {
    $node->generate(4);
    $new->notification($HEADERS, 30, sub { $_[0][0]{height} == $top + 4 });
    for my $more (1, 0, -2) {
        if ($more > 0) {
            $node->reorg(3, $more);
        }
        else {
            $node->rpc('invalidateblock',
                $node->hash_at($node->height + $more));
        }
        my $tip = $node->tip;
        my $n = $new->notification($HEADERS, 30, sub {
            display(sha256d(pack 'H*', $_[0][0]{hex})) eq $tip });
        is($n->[0]{height}, $node->height, "height $n->[0]{height}");
        is($new->call("$B.header", $n->[0]{height}), $n->[0]{hex},
            'is served');
        is($new->error_of("$B.header", $n->[0]{height} + 1)->{code}, 1,
            'and nothing above');
    }
}
