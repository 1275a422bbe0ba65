#!/usr/bin/perl

# The ways in which known wallets and servers ask: Sparrow (pages of a batch),
# BDK (many lines in one write), BlueWallet (batches of verbose transactions),
# mempool's backend (one by one), Trezor Suite (small mixed batches). Messages
# are made here as those programs make them; all answers are compared with the
# model.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use JSON::PP ();

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $s = ElectrumX::Scenario->new($t, seed => 545);
my ($node, $coins) = @$s{qw(node coins)};
$s->base;
$s->grow(12);
$s->serve(indexer => { live_window => 10 }, nginx => { workers => 2 });
$s->grow(8);
$s->fill_mempool(25);
my $p = $s->settled($t->client('tcp'));
my $top = $p->{height};

my ($B, $S, $T) = map {"blockchain.$_"} qw(block scripthash transaction);
my $TRUE = JSON::PP::true();
my $JSON = JSON::PP->new->canonical->allow_nonref->utf8;
my $NAME = qr/^ElectrumX-nginx \d+\.\d+\.\d+$/;

# A wallet: scripts that have a history, and as many that have none.
my @used = $p->scripthashes;
splice @used, 500 if @used > 500;
my @wallet = map { ($used[$_], ElectrumX::Tx::scripthash("unused $_")) }
    0 .. $#used;
my %seen;
my @txids = grep { !$seen{$_}++ } map { $_->{tx_hash} }
    map { @{ $p->history($_) } } @used;
my @confirmed = grep { $p->where($_) } @txids;
note scalar(@wallet), ' scripts, ', scalar(@txids), ' transactions';

subtest 'Sparrow' => \&sparrow;
subtest 'Sparrow, the largest pages' => \&sparrow_large;
subtest "BDK, $_->[1]" => \&bdk, $_ for ['1.4', '1.4'],
    [['1.4', '1.5.3'], '1.5.3'], ['1.5.3', '1.5.3'], [['1.4', '1.6'], '1.6'];
subtest 'BlueWallet' => \&bluewallet;
subtest 'mempool' => \&mempool;
subtest 'Trezor Suite' => \&trezor;
subtest 'all are told of a block' => \&told;
$t->done;

# ---- calls with what they must answer ---------------------------------------

# A call is [method, params or undef, expected answer, change before it is
# compared].
sub want_tx     { return ["$T.get", [$_[0]], $p->raw($_[0])] }
sub want_header { return ["$B.header", [$_[0]], $p->header($_[0])] }

sub want_script {
    my ($what, $sh) = @_;
    return ["$S.subscribe", [$sh], $p->status($sh)] if $what eq 'subscribe';
    return ["$S.listunspent", [$sh],
        ElectrumX::Compare::sort_unspent($p->unspent($sh)),
        \&ElectrumX::Compare::sort_unspent] if $what eq 'listunspent';
    my $answer = $what eq 'get_balance' ? $p->balance($sh)
        : $what eq 'get_history' ? $p->history($sh) : $p->mempool($sh);
    return ["$S.$what", [$sh], $answer];
}

sub want_merkle {
    my ($txid) = @_;
    return ["$T.get_merkle", [$txid, ($p->where($txid))[0]],
        $p->merkle($txid)];
}

my %verbose;

sub want_verbose {
    my ($txid) = @_;
    my ($h) = $p->where($txid);
    $verbose{$txid} //= $node->rpc('getrawtransaction', $txid, 1,
        $h ? $node->hash_at($h) : ());
    delete $verbose{$txid}{in_active_chain};
    return ["$T.get", [$txid, $TRUE], $verbose{$txid}];
}

sub want_fee { return ['blockchain.estimatefee', [$_[0]], -1] }

sub want_tip {
    return ['blockchain.headers.subscribe', $_[0],
        { height => $top, hex => $p->header($top) }];
}

sub request {
    my ($c, $call, $id) = @_;
    my %r = (jsonrpc => '2.0', id => $id, method => $call->[0]);
    $r{params} = $call->[1] if defined $call->[1];
    return \%r;
}

# Sends the calls by $send (once for each list of requests) and compares.
sub compare {
    my ($c, $name, $page, $send, @calls) = @_;
    my (@bad, $n);
    while (my @part = splice @calls, 0, $page) {
        my %call = map { ++$c->{id} => $_ } @part;
        my @requests = map { request($c, $call{$_}, $_) }
            sort { $a <=> $b } keys %call;
        my @answers = $send->($c, \@requests);
        push @bad, "@{[scalar @answers]} answers of " . @part
            if @answers != @part;
        push @bad, grep {defined} map { differs($_, delete $call{ $_->{id} })
            } @answers;
        $n += @part;
    }
    ok(!@bad, "$name: $n answers") or diag join "\n", @bad[0 .. ($#bad > 4
        ? 4 : $#bad)];
}

sub differs {
    my ($answer, $call) = @_;
    return 'an answer twice: ' . $JSON->encode($answer) if !$call;
    my ($method, $params, $want, $norm) = @$call;
    my $got = $norm && !$answer->{error} ? $norm->($answer->{result})
        : $answer->{result};
    my %all = (jsonrpc => '2.0', id => $answer->{id}, result => $want);
    my ($g, $w) = map { $JSON->encode($_) } { %$answer, result => $got }, \%all;
    return undef if $g eq $w;
    return "$method " . $JSON->encode($params) . "\n   got "
        . substr($g, 0, 300) . "\n  want " . substr($w, 0, 300);
}

# One JSON-RPC batch; the answer is one array.
sub in_batch {
    my ($c, $requests) = @_;
    $c->send_text($JSON->encode($requests));
    my $m = $c->read_message;
    return ref $m eq 'ARRAY' ? @$m : ();
}

# One write of many messages; the answers come one by one.
sub in_lines {
    my ($c, $requests) = @_;
    $c->send_raw(join '', map { $c->framed($JSON->encode($_)) } @$requests);
    return map { $c->read_message } @$requests;
}

sub one_by_one {
    my ($c, $requests) = @_;
    return map { in_lines($c, [$_]) } @$requests;
}

sub version {
    my ($c, $params, $want) = @_;
    my ($a) = one_by_one($c, [request($c, ['server.version', $params],
        ++$c->{id})]);
    like($a->{result}[0], $NAME, 'name of the server');
    is($a->{result}[1], $want, "version $want");
}

# ---- the programs -----------------------------------------------------------

# Clients that are to be told: [client, subscribed to headers, @scripthashes].
my @listening;

# Arguments of server.version by name; then pages of 100, and smaller ones
# where answers are long.
sub sparrow {
    my $c = $t->client('tls', timeout => 30);
    version($c, { client_name => 'Sparrow',
        protocol_version => ['1.3', '1.4.2'] }, '1.4.2');
    my ($banner, $features) = map { $_->{result} } one_by_one($c,
        [map { request($c, [$_], ++$c->{id}) } 'server.banner',
            'server.features']);
    ok(length $banner, 'banner');
    is($features->{genesis_hash}, $node->hash_at(0), 'features');
    compare($c, 'tip', 1, \&one_by_one, want_tip());
    compare($c, 'subscribe', 100, \&in_batch,
        map { want_script('subscribe', $_) } @wallet);
    compare($c, 'histories', 100, \&in_batch,
        map { want_script('get_history', $_) } @used);
    compare($c, 'unconfirmed', 100, \&in_batch,
        map { want_script('get_mempool', $_) } @used);
    compare($c, 'headers', 100, \&in_batch, map { want_header($_) } 0 .. $top);
    compare($c, 'ranges of headers', 4, \&in_batch, map {
        ["$B.headers", [$_ * 40, 2016], $p->headers($_ * 40, 2016, 0, '1.4')]
        } 0 .. 2);
    compare($c, 'transactions', 100, \&in_batch, map { want_tx($_) } @txids);
    compare($c, 'proofs', 250, \&in_batch, map { want_merkle($_) } @confirmed);
    compare($c, 'verbose', 100, \&in_batch,
        map { want_verbose($_) } @txids[0 .. 40]);
    compare($c, 'fees', 100, \&in_batch, map { want_fee($_) } 1 .. 5, 10, 25,
        50);
    compare($c, 'statistics', 100, \&in_batch, map { want_stats($_) }
        $top - 20 .. $top);
    compare($c, 'ping', 1, \&one_by_one, ['server.ping', undef, undef]);
    compare($c, 'unsubscribe', 100, \&in_batch,
        map { ["$S.unsubscribe", [$_], $TRUE] } @wallet[0 .. 250]);
    push @listening, [$c, 1, @wallet[251 .. $#wallet]];
}

sub want_stats {
    my ($h) = @_;
    my $all = $node->rpc('getblockstats', $h);
    return ["$B.stats", [$h], { map { $_ => $all->{$_} } qw(height blockhash
        feerate_percentiles total_weight txs time) }];
}

# What its setting for the page allows at most.
sub sparrow_large {
    my $c = $t->client('tcp', timeout => 30);
    version($c, { protocol_version => ['1.3', '1.6'],
        client_name => 'Sparrow' }, '1.6');
    compare($c, 'subscribe', 1000, \&in_batch,
        map { want_script('subscribe', $_) } @wallet);
    compare($c, 'histories', 1000, \&in_batch,
        map { want_script('get_history', $_) } @wallet);
    compare($c, 'transactions', 1000, \&in_batch, map { want_tx($_) } @txids);
    push @listening, [$c, 0, @wallet];
}

# A batch is lines in one write, numbers begin at 0, answers in any order.
sub bdk {
    my ($offer, $want) = @$_;
    for my $size (20, 100) {
        my $c = $t->client($size == 20 ? 'tcp' : 'tls', timeout => 30);
        $c->{id} = -1;
        version($c, ['', $offer], $want);
        compare($c, 'tip', 1, \&in_lines, want_tip([]));
        compare($c, "histories by $size", $size, \&in_lines,
            map { want_script('get_history', $_) } @wallet);
        compare($c, "transactions by $size", $size, \&in_lines,
            map { want_tx($_) } @txids);
        compare($c, "headers by $size", $size, \&in_lines,
            map { want_header($_) } 0 .. $top);
        compare($c, "proofs by $size", $size, \&in_lines,
            map { want_merkle($_) } @confirmed);
        compare($c, "statuses by $size", $size, \&in_lines,
            map { want_script('subscribe', $_) } @wallet);
        compare($c, "fees by $size", $size, \&in_lines,
            map { want_fee($_) } 1 .. 10);
        push @listening, [$c, 1, @wallet];
    }
}

# It batches because of the server's name.
sub bluewallet {
    my $c = $t->client('tls', timeout => 30);
    version($c, ['bluewallet', '1.4'], '1.4');
    compare($c, 'tip', 1, \&one_by_one, want_tip([]));
    compare($c, 'balances', 200, \&in_batch,
        map { want_script('get_balance', $_) } @wallet);
    compare($c, 'histories', 100, \&in_batch,
        map { want_script('get_history', $_) } @wallet);
    compare($c, 'unspent', 100, \&in_batch,
        map { want_script('listunspent', $_) } @wallet);
    compare($c, 'verbose transactions', 45, \&in_batch,
        map { want_verbose($_) } @txids[0 .. ($#txids > 269 ? 269 : $#txids)]);
    compare($c, 'transactions', 45, \&in_batch,
        map { ["$T.get", [$_, JSON::PP::false()], $p->raw($_)] } @txids);
    compare($c, 'ping', 1, \&one_by_one, ['server.ping', [], undef]);
}

# For an address: balance, history, the ten last transactions with those that
# they spend.
sub mempool {
    my $c = $t->client('tcp', timeout => 30);
    version($c, ['mempool-v2', '1.4'], '1.4');
    my @calls;
    for my $sh (grep { @{ $p->history($_) } } @used[0 .. 59]) {
        push @calls, want_script('get_balance', $sh),
            want_script('get_history', $sh);
        my @history = sort { ($b->{height} || 9e6) <=> ($a->{height} || 9e6) }
            @{ $p->history($sh) };
        for my $txid (map { $_->{tx_hash} } @history[0 .. ($#history > 2 ? 2
            : $#history)])
        {
            push @calls, want_verbose($txid);
            push @calls, map { want_verbose($_->{txid}) }
                grep { $p->has_tx($_->{txid}) }
                @{ $p->{model}{txs}{$txid}{vin} };
        }
    }
    compare($c, 'addresses', 1, \&one_by_one, @calls);
}

# Whatever is asked within 50 ms, at most 15 at a time.
sub trezor {
    my $c = $t->client('tls', timeout => 30);
    version($c, ['blockchain-link', ['1.4', '1.6']], '1.6');
    compare($c, 'tip', 1, \&one_by_one, want_tip([]));
    my @calls = map { (want_script('get_history', $_),
        want_script('get_balance', $_), want_script('listunspent', $_)) }
        @wallet[0 .. 99];
    push @calls, map { (want_verbose($_), want_header(($p->where($_))[0])) }
        @confirmed[0 .. 30];
    push @calls, map { want_fee($_) } 1, 5, 36;
    compare($c, 'an account', 15, \&in_batch, @calls);
    compare($c, 'subscriptions', 15, \&in_batch,
        map { want_script('subscribe', $_) } @wallet[0 .. 99]);
    push @listening, [$c, 1, @wallet[0 .. 99]];
}

# Each is told the new tip and the new status of each of its scripts that
# changed, nothing else.
sub told {
    $node->generate(1);
    my $now = $s->settled($t->client('tcp'));
    my $tip = { height => $now->{height},
        hex => $now->header($now->{height}) };
    for my $l (@listening) {
        my ($c, $tips, @scripts) = @$l;
        my %want = map { $_ => $now->status($_) }
            grep { ($now->status($_) // '') ne ($p->status($_) // '') }
            @scripts;
        my %got;
        for (1 .. keys %want) {
            my ($sh, $status) = @{ $c->notification("$S.subscribe") };
            $got{$sh} = $status;
        }
        is_deeply(\%got, \%want, scalar(keys %want) . ' scripts');
        my %rest = ("$S.subscribe" => []);
        push @{ $rest{ $_->{method} } }, $_->{params} for $c->notifications;
        is_deeply(\%rest, { "$S.subscribe" => [],
            $tips ? ('blockchain.headers.subscribe' => [[$tip]]) : () },
            $tips ? 'and of the tip' : 'and of nothing else');
    }
}
