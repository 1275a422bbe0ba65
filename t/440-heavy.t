#!/usr/bin/perl

# Scripts with long histories and many outputs: what is answered in slices is
# what the model says, on every transport, in batches, to clients that read
# slowly; it is one picture whatever happens meanwhile, and nothing is kept for
# a client that has gone.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Tx qw(scripthash);
use Fcntl qw(:flock);
use JSON::PP ();
use Time::HiRes qw(sleep time);

my $ENTRIES = $ENV{TEST_ENTRIES} || 2400;
my $S = 'blockchain.scripthash';
my $JSON = JSON::PP->new->canonical->allow_nonref;

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
my $s = ElectrumX::Scenario->new($t, free_only => 1);
my ($node, $coins) = @$s{qw(node coins)};
$node->generate(105);
my $script = $coins->script('drop', 50);
my $sh = scripthash($script);
my $half = int($ENTRIES / 2);
$node->generate($_, $node->raw_descriptor($script)) for $half, $half;
$s->rescan;
# One worker, and little room in the kernel: what is not read stays with us.
$s->serve(indexer => { live_window => 20, settle_batch => 5,
        keep_generations => 1 },
    nginx => { workers => 1, electrumx => 'max_queue 64k;', map { ("${_}_listen" => 'sndbuf=8192') }
        qw(tcp tls ws) });
my $c = $t->client('tcp', timeout => 60);
$c->version('1.4.2');
my $p = $s->settled($c);

subtest 'compared with the model' => \&model;
subtest 'parts of the history' => \&parts;
subtest 'other methods' => \&others;
subtest 'batches' => \&batches;
subtest 'many at once' => \&many;
subtest 'a client that stops sending' => \&half_closed;
subtest 'a client that reads slowly, while blocks come' => \&slow;
subtest 'a client that leaves' => \&leaves;
subtest 'a reorganisation meanwhile' => \&reorg;
subtest 'notifications' => \&notified;
subtest 'a session with many subscriptions leaves' => \&many_subs;
subtest 'reload meanwhile' => \&reload;
$t->done;

sub same {
    my ($got, $want, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok($JSON->encode($got) eq $JSON->encode($want), $name)
        or diag(substr($JSON->encode($got), 0, 300));
}

# A client that takes little: the answer has begun and can't be sent whole.
sub begun {
    my ($transport) = @_;
    my $x = $t->client($transport, timeout => 60, rcvbuf => 16384);
    my $id = $x->send_request("$S.get_history", [$sh]);
    $t->wait_for(sub { $x->_fill(0.1) }, 20, 'first bytes');
    return ($x, $id);
}

sub model {
    cmp_ok(scalar @{ $p->history($sh) }, '>=', $half * 2, 'a long history');
    for my $transport (qw(tcp tls ws wss)) {
        my $x = $t->client($transport, timeout => 60);
        my $cmp = ElectrumX::Compare->new(client => $x, picture => $p);
        $cmp->scripts($sh);
        $cmp->ok($transport);
    }
}

sub parts {
    my $all = $p->history($sh);
    my @ranges = ([0, 5], [0, 1500], [500, 2300], [2300, 4000], [2400, -1],
        [1, -1], [2000, 2000], [100_000, -1], [0, $p->{height}]);
    for (@ranges) {
        my ($from, $to) = @$_;
        my @want = grep { $_->{height} >= $from
            && ($to < 0 || $_->{height} < $to) } @$all;
        same($c->call("$S.get_history", $sh, $from, $to), \@want,
            "$from to $to: " . @want);
    }
}

sub others {
    my $hex = unpack 'H*', $script;
    my $P = 'blockchain.scriptpubkey';
    same($c->call("$P.get_history", $hex), { history => $p->history($sh) },
        'history of a script');
    same($c->call("$P.listunspent", $hex), { utxos => $p->unspent($sh) },
        'its unspent outputs');
    same($c->call("$P.get_balance", $hex), $p->balance($sh), 'its balance');
    is($c->call("$P.subscribe", $hex), $p->status($sh), 'its status');
    is($c->call("$S.get_status", $sh), $p->status($sh), 'status');
    is($c->call("$S.get_first_use", $sh)->{tx_hash},
        $p->history($sh)->[0]{tx_hash}, 'first use');
}

sub batches {
    for my $transport (qw(tcp ws)) {
        my $x = $t->client($transport, timeout => 60);
        my $cmp = ElectrumX::Compare->new(client => $x, picture => $p,
            batch => 12);
        $cmp->expect('server.ping', [], undef);
        $cmp->scripts($sh);
        $cmp->expect('blockchain.block.header', [5], $p->header(5));
        $cmp->scripts($sh);
        $cmp->ok("$transport: among others");
    }
    my $x = $t->client('tcp', timeout => 60);
    my $id = 1000;
    $x->send_text($JSON->encode([map { { id => $id++, params => [$sh],
        method => "$S.get_history" } } 1 .. 50]));
    my $text = $x->read_text;
    my $n = @{ $p->history($sh) };
    my $list = qr/"result":\[(?:\{[^}]*\},?){$n}\]/;
    my $ok = () = $text =~ /$list/g;
    my $large = () = $text =~ /"code":-32600,"message":"response too large/g;
    cmp_ok($ok, '>', 10, 'as many as fit');
    is($ok + $large, 50, 'the others: response too large');
}

sub many {
    my @x = map { $t->client($_, timeout => 60) } qw(tcp tls ws wss);
    my @ids = map { my $x = $_; [map { $x->send_request(@$_) }
        (map { (["$S.get_history", [$sh]], ["$S.listunspent", [$sh]],
            ['server.ping', []], ["$S.get_balance", [$sh]]) } 1 .. 3)] } @x;
    my $bad = 0;
    my @want = ($p->history($sh), $p->unspent($sh), undef, $p->balance($sh));
    @want = map { $JSON->encode($_) } @want;
    for my $i (0 .. $#x) {
        for my $k (0 .. $#{ $ids[$i] }) {
            my $a = $x[$i]->answer($ids[$i][$k]);
            $bad++ if $a->{error}
                || $JSON->encode($a->{result}) ne $want[$k % 4];
        }
    }
    is($bad, 0, 'all answers are right');
}

sub half_closed {
    my $x = $t->client('tcp', timeout => 60);
    my $id = $x->send_request("$S.get_history", [$sh]);
    my $last = $x->send_request("$S.get_balance", [$sh]);
    shutdown $x->{sock}, 1;
    same($x->answer($id)->{result}, $p->history($sh), 'gets its answer');
    same($x->answer($last)->{result}, $p->balance($sh), 'and the next');
    ok($x->closed(10), 'and the end');
}

sub slow {
    for my $transport (qw(tcp tls ws)) {
        my ($x, $id) = begun($transport);
        my $other = $x->send_request('server.ping', []);
        my $before = $p->history($sh);
        $node->generate(6, $node->raw_descriptor($script));
        $p = $s->settled($c);
        same($x->answer($id)->{result}, $before,
            "$transport: the history when it was asked for");
        is($x->answer($other)->{error}, undef, 'what was asked behind it');
        same($x->call("$S.get_history", $sh), $p->history($sh),
            'the next is of that moment');
    }
    my $cmp = ElectrumX::Compare->new(client => $c, picture => $p);
    $cmp->scripts($sh);
    $cmp->ok('all the rest');
}

# Generation directories that somebody holds.
sub leased {
    my @held;
    for my $file (glob $t->data . '/generations/*/lease') {
        open my $fh, '<', $file or next;
        push @held, $file if !flock $fh, LOCK_EX | LOCK_NB;
    }
    return @held;
}

sub leaves {
    for my $transport (qw(tcp ws)) {
        my ($x, $id) = begun($transport);
        my ($old) = leased();
        ok($old, 'the generation is in use');
        $t->wait_for(sub {
            $node->generate(5);
            $s->settled($c);
            grep { $_ ne $old } leased();
        }, 30, 'a newer one');
        ok((grep { $_ eq $old } leased()), 'both are, while it is sent');
        $x->abort;
        $t->wait_for(sub { !grep { $_ eq $old } leased() }, 10,
            'the old one is let go');
        ok(1, "$transport: nothing is kept");
    }
    $p = $s->settled($c);
}

sub reorg {
    my ($x, $id) = begun('tcp');
    my $before = $p->history($sh);
    my $y = $t->client('ws', timeout => 60);
    is($y->call("$S.subscribe", $sh), $p->status($sh), 'subscribed');
    $node->generate(3, $node->raw_descriptor($script));
    $p = $s->settled($c);
    my $first = $node->hash_at($node->height - 2);
    $node->rpc('invalidateblock', $first);
    $node->generate(4);
    $p = $s->settled($c);
    same($x->answer($id)->{result}, $before, 'one picture');
    my $cmp = ElectrumX::Compare->new(client => $c, picture => $p);
    $cmp->scripts($sh);
    $cmp->ok('afterwards');
    $y->pump(0.5);
    my @told = grep { $_->{method} eq "$S.subscribe" } $y->notifications;
    is($told[-1]{params}[1], $p->status($sh), 'told the last status')
        if @told;
}

sub notified {
    my @x = map { $t->client($_, timeout => 60) } qw(tcp ws tcp tls);
    is($_->call("$S.subscribe", $sh), $p->status($sh), 'subscribed') for @x;
    for (1 .. 3) {
        $node->generate(1, $node->raw_descriptor($script));
        $p = $s->settled($c);
        my $want = $p->status($sh);
        for my $x (@x) {
            is($x->notification("$S.subscribe", 20,
                sub { $_[0][0] eq $sh })->[1], $want, 'told');
        }
    }
    # what a fresh worker knows nothing of
    my ($old) = $t->worker_pids;
    $_->close for @x;
    $t->reload_nginx;
    $t->wait_for(sub { !grep { $_ == $old } $t->worker_pids }, 20,
        'the old worker has gone');
    my $y = $t->client('tcp', timeout => 60);
    my @ids = map { $y->send_request("$S.subscribe", [$sh]) } 1 .. 5;
    is($y->answer($_)->{result}, $p->status($sh), 'asked at once') for @ids;
    $c = $t->client('tcp', timeout => 60);
}

sub many_subs {
    my $x = $t->client('tcp', timeout => 60);
    my @sh = map { sprintf '%064x', $_ } 1 .. 5000;
    $x->batch(map { ["$S.subscribe", $_] } splice @sh, 0, 500) for 1 .. 10;
    $x->abort;
    my $y = $t->client('tcp', timeout => 60);
    is($y->call("$S.subscribe", sprintf '%064x', 7), undef, 'served');
    $node->generate(1, $node->raw_descriptor($script));
    $p = $s->settled($c);
    is($y->call("$S.get_status", $sh), $p->status($sh), 'told right');
}

sub reload {
    my @x = map { [begun($_)] } qw(tcp ws);
    $t->reload_nginx;
    for (@x) {
        my ($x, $id) = @$_;
        same($x->answer($id)->{result}, $p->history($sh),
            "$x->{transport}: the whole answer");
        ok($x->closed(20), 'then the end');
    }
}
