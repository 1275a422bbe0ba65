#!/usr/bin/perl

# blockchain.scripthash.*: shapes, errors, limits, and the bookkeeping of
# subscriptions.  (500 compares all answers with the model, 510 follows what
# is notified of each kind of change.)

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Tx qw(op_push scripthash);
use JSON::PP ();

my $S = 'blockchain.scripthash';
my $SUB = "$S.subscribe";
my $HEADERS = 'blockchain.headers.subscribe';
my $JSON = JSON::PP->new->allow_nonref->canonical;
my $LIMIT = int((9600 - 100) / 99);

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $s = ElectrumX::Scenario->new($t, free_only => 1);
my ($node, $coins) = @$s{qw(node coins)};
$node->generate(105);
my $rich = $coins->script('drop', 50);
$node->generate(103, $node->raw_descriptor($rich));
$s->rescan;
$s->serve(indexer => { live_window => 20 }, nginx => { workers => 1,
    electrumx => 'max_response 9600; max_subs 3000;' });
my $c = $t->client('tcp');
$c->version('1.4.2');
my $next = 0;

subtest 'nothing there' => \&nothing;
subtest 'shapes' => \&shapes;
subtest 'errors' => \&errors;
subtest 'spelling of the script hash' => \&spelling;
subtest 'script hashes alike in their first bytes' => \&alike;
subtest 'unsubscribe' => \&unsubscribe;
subtest 'two sessions' => \&two;
subtest 'answers that are too large' => \&too_large;
subtest 'a history that becomes too large' => \&grows;
subtest 'number of subscriptions' => \&number;
subtest 'many scripts in one block' => \&many;
subtest 'sessions that leave' => \&leaving;
subtest 'the indexer begins anew' => \&restart;
$t->done;

# A transaction to new scripts: (tx, scripthash of each).
sub pay {
    my ($n) = @_;
    $s->rescan;
    my $coin = $coins->take(min => 1e6, confirmed => 1, standard => 1,
        coinbase => 1, kind => 'true') or die 'no coin';
    my $each = int(($coin->{value} - 100_000) / $n);
    my @scripts = map { op_push('330 ' . $next++) . "\x75\x51" } 1 .. $n;
    my $tx = $coins->make([$coin], [map { [$_, $each] } @scripts]);
    return ($tx, map { scripthash($_) } @scripts);
}

# The next notification of a script.
sub told {
    my ($client, $sh) = @_;
    return $client->notification($SUB, 10, sub { $_[0][0] eq $sh })->[1];
}

# Waits until all that the node did has been told.
sub quiet {
    my ($client) = @_;
    my $tip = $client->call($HEADERS);
    my ($hash) = $node->generate(1);
    $client->notification($HEADERS, 10,
        sub { $_[0][0]{height} == $node->height });
    $client->pump(0.3);
}

sub nothing {
    my $sh = 'ab' x 32;
    is_deeply($c->call("$S.get_history", $sh), [], 'history');
    is_deeply($c->call("$S.get_mempool", $sh), [], 'mempool');
    is_deeply($c->call("$S.listunspent", $sh), [], 'unspent');
    is_deeply($c->call("$S.get_balance", $sh),
        { confirmed => 0, unconfirmed => 0 }, 'balance');
    is($c->call($SUB, $sh), undef, 'status');
}

sub shapes {
    my ($tx, $sh) = pay(1);
    my $value = $tx->{coins}[0]{value};
    my $fee = 100_000;
    $c->call($SUB, $sh);
    $node->send($tx->{hex});
    my $status = told($c, $sh);
    like($status, qr/^[0-9a-f]{64}$/, 'status');
    is($c->call($SUB, $sh), $status, 'the same when asked');
    my $entry = { tx_hash => $tx->{txid}, height => 0, fee => $fee };
    is_deeply($c->call("$S.get_history", $sh), [$entry], 'history');
    is_deeply($c->call("$S.get_mempool", $sh), [$entry], 'mempool');
    is_deeply($c->call("$S.get_balance", $sh),
        { confirmed => 0, unconfirmed => $value }, 'balance');
    is_deeply($c->call("$S.listunspent", $sh), [{ tx_hash => $tx->{txid},
        tx_pos => 0, height => 0, value => $value }], 'unspent');
    $node->generate(1);
    isnt(told($c, $sh), $status, 'another status');
    my $height = $node->height;
    is_deeply($c->call("$S.get_history", $sh),
        [{ tx_hash => $tx->{txid}, height => $height }], 'history');
    is_deeply($c->call("$S.get_mempool", $sh), [], 'mempool');
    is_deeply($c->call("$S.get_balance", $sh),
        { confirmed => $value, unconfirmed => 0 }, 'balance');
    is_deeply($c->call("$S.listunspent", $sh), [{ tx_hash => $tx->{txid},
        tx_pos => 0, height => $height, value => $value }], 'unspent');
}

sub errors {
    for my $m (map {"$S.$_"} qw(get_history get_mempool get_balance
        listunspent subscribe unsubscribe))
    {
        for my $p ([], ['ab' x 31], ['ab' x 33], ['zz' x 32], [''], [5],
            [undef], [[]], [{}], [JSON::PP::true()], { x => 1 },
            ['ab' x 32, 1, 2, 3], [' ' . 'ab' x 31 . 'a'])
        {
            my $e = $c->answer($c->send_request($m, $p))->{error};
            is($e->{code}, -32602, "$m " . $JSON->encode($p));
        }
        my $e = $c->error_of($m, 'ab');
        is($e->{message}, 'scripthash: 64 hex digits expected', 'in words');
    }
}

sub spelling {
    my ($tx, $sh) = pay(1);
    my $c = $t->client('tcp');
    my $mixed = join '', map { rand() < 0.5 ? uc : $_ } split //, $sh;
    my ($upper, $lower) = map { $t->client($_) } qw(tcp ws);
    is($upper->call($SUB, uc $sh), undef, 'upper case');
    is($c->call($SUB, $mixed), undef, 'mixed');
    is($lower->call($SUB, $sh), undef, 'lower case');
    $node->send($tx->{hex});
    my $status = told($upper, uc $sh);
    like($status, qr/^[0-9a-f]{64}$/, 'told as written: upper case');
    is(told($c, $mixed), $status, 'mixed');
    is(told($lower, $sh), $status, 'lower case');
    is($lower->call($SUB, uc $sh), $status, 'spelled otherwise');
    $node->generate(1);
    $status = told($lower, uc $sh);
    ok($lower->no_notification($SUB, 0.3), 'only one of the two is told');
    ok($lower->call("$S.unsubscribe", $sh), 'unsubscribed in any spelling');
}

# The index knows 14 bytes of a script hash; whoever asks gets his own back.
sub alike {
    my ($tx, $sh) = pay(1);
    my $c = $t->client('tcp');
    my @sh = ($sh, 'ab' . substr($sh, 2), 'cd' . substr($sh, 2));
    $c->call($SUB, $_) for @sh;
    $node->send($tx->{hex});
    my %status = map { told($c, $_) => 1 } @sh;
    is(scalar(keys %status), 1, 'each is told');
    ok($c->call("$S.unsubscribe", $sh[1]), 'unsubscribed from one');
    ok(!$c->call("$S.unsubscribe", $sh[1]), 'only once');
    $node->generate(1);
    told($c, $_) for @sh[0, 2];
    ok($c->no_notification($SUB, 0.3), 'the others are told');
}

sub unsubscribe {
    my ($tx, $sh) = pay(1);
    my $c = $t->client('tcp');
    ok(!$c->call("$S.unsubscribe", $sh), 'never subscribed');
    $c->call($SUB, $sh);
    ok($c->call("$S.unsubscribe", $sh), 'was subscribed');
    ok(!$c->call("$S.unsubscribe", $sh), 'no more');
    $node->send($tx->{hex});
    quiet($c);
    ok($c->no_notification($SUB, 0), 'not told');
    is(scalar @{ $c->call("$S.get_history", $sh) }, 1, 'of what happened');
}

sub two {
    my ($tx, $sh) = pay(1);
    my ($c, $x) = map { $t->client($_) } qw(tcp ws);
    is($_->call($SUB, $sh), undef, 'both subscribe') for $c, $x;
    is($x->call($SUB, $sh), undef, 'one of them twice');
    $node->send($tx->{hex});
    is(told($x, $sh), told($c, $sh), 'told the same');
    $x->call("$S.unsubscribe", $sh);
    $node->generate(1);
    my $status = told($c, $sh);
    ok($x->no_notification($SUB, 0.3), 'one left');
    is($x->call($SUB, $sh), $status, 'and comes back');
}

sub too_large {
    my $sh = scripthash($rich);
    for ("$S.get_history", $SUB) {
        my $e = $c->error_of($_, $sh);
        is($e->{code}, 10001, "$_: error 10001");
        is($e->{message}, 'history too large', 'in words');
    }
    ok(!$c->call("$S.unsubscribe", $sh), 'not subscribed');
    my $e = $c->error_of("$S.listunspent", $sh);
    is($e->{code}, -32600, 'listunspent: error -32600');
    like($e->{message}, qr/^response too large/, 'in words');
    my $old = $c->call("$S.get_balance", $sh);
    cmp_ok($old->{confirmed}, '>', 0, 'its balance is known');
    is_deeply($c->call("$S.get_mempool", $sh), [], 'mempool too');
}

sub grows {
    my $script = $coins->script('drop', 51);
    my $sh = scripthash($script);
    $node->generate($LIMIT - 1, $node->raw_descriptor($script));
    $t->wait_for(sub { @{ $c->call("$S.get_history", $sh) } == $LIMIT - 1 },
        20, 'served');
    my ($c, $x) = map { $t->client($_) } qw(tcp ws);
    like($_->call($SUB, $sh), qr/^[0-9a-f]{64}$/, 'subscribed') for $c, $x;
    $node->generate(1, $node->raw_descriptor($script));
    like(told($_, $sh), qr/^[0-9a-f]{64}$/, 'the last that fits') for $c, $x;
    $node->generate(1, $node->raw_descriptor($script));
    is(told($_, $sh), undef, 'too many: a last status, null') for $c, $x;
    ok(!$_->call("$S.unsubscribe", $sh), 'subscription is gone') for $c, $x;
    is($c->error_of($SUB, $sh)->{code}, 10001, 'error 10001');
    $node->rpc('invalidateblock', $node->tip);
    $t->wait_for(sub { !$c->error_of($SUB, $sh) }, 10, 'one less: served');
    ok(1, 'in a reorg it fits again');
    $node->generate(2);
}

sub number {
    my $x = $t->client('tcp');
    my @sh = map { sprintf '%064x', $_ } 1 .. 3001;
    my @a;
    push @a, @{ $x->batch(map { [$SUB, $_] } splice @sh, 0, 100) }
        for 1 .. 30;
    is(scalar(grep { !$_->{error} } @a), 3000, 'as many as allowed');
    my $e = $x->error_of($SUB, 'ff' x 32);
    is($e->{code}, 1, 'one more: error 1');
    like($e->{message}, qr/^too many subscriptions: at most 3000 /,
        'in words');
    ok(!$x->error_of($SUB, sprintf '%064x', 7), 'one of them again');
    $x->call("$S.unsubscribe", sprintf '%064x', 7);
    ok(!$x->error_of($SUB, 'ff' x 32), 'one instead of another');
    ok(!$c->error_of($SUB, 'fe' x 32), 'others are not affected');
}

sub many {
    my ($tx, @sh) = pay(1500);
    my @x = map { $t->client($_) } qw(tcp ws);
    for my $x (@x) {
        $x->call($HEADERS);
        my @list = @sh;
        my $errors = 0;
        while (my @some = splice @list, 0, 50) {
            $errors += grep { $_->{error} }
                @{ $x->batch(map { [$SUB, $_] } @some) };
        }
        is($errors, 0, 'subscribed');
    }
    $node->generate_block([$tx->{hex}]);
    for my $x (@x) {
        my %status = map { $_ => told($x, $_) } @sh;
        is(scalar(grep {defined} values %status), 1500, 'all are told');
        my ($first) = grep { $_->{method} eq $HEADERS } @{ $x->{queue} };
        ok($first, 'and of the block');
        my $a = $x->batch(map { [$SUB, $_] } @sh[0 .. 49]);
        is(scalar(grep { $a->[$_]{result} ne $status{ $sh[$_] } } 0 .. 49), 0,
            'statuses are the ones of the moment');
    }
}

sub leaving {
    my ($tx, @sh) = pay(40);
    my @x = map { $t->client($_ % 2 ? 'tcp' : 'ws') } 1 .. 10;
    my $c = $t->client('tcp');
    for my $x (@x, $c) {
        $x->batch(map { [$SUB, $_] } @sh);
    }
    $_->abort for @x[0 .. 4];
    $node->send($tx->{hex});
    $_->abort for @x[5 .. 8];
    my %status = map { $_ => told($c, $_) } @sh;
    is(scalar(grep {defined} values %status), 40, 'who stays is told');
    ok(defined told($x[9], $sh[3]), 'everyone');
    $node->generate(1);
    isnt(told($c, $sh[39]), $status{ $sh[39] }, 'of the next change, too');
}

# Changes while no indexer runs are told when it is back.
sub restart {
    my ($tx, @sh) = pay(20);
    my ($none) = ('ee' x 32);
    my $x = $t->client('ws');
    my $tip = $x->call($HEADERS);
    $x->batch(map { [$SUB, $_] } @sh, $none);
    $t->kill_indexer;
    $t->allow_exit('indexer');
    $node->generate_block([$tx->{hex}]);
    is($x->call($HEADERS)->{height}, $tip->{height},
        'served from what is there');
    $t->start_indexer($node->indexer_conf, live_window => 20);
    my $n = $x->notification($HEADERS, 30,
        sub { $_[0][0]{height} == $node->height });
    ok($n, 'the new tip');
    my %status = map { $_ => told($x, $_) } @sh;
    is(scalar(grep {defined} values %status), 20, 'and all that changed');
    ok($x->no_notification($SUB, 0.5), 'once, and nothing else');
    is_deeply($x->call($SUB, $sh[0]), $status{ $sh[0] }, 'status');
}
