#!/usr/bin/perl

# Long histories with a page cache that forgets (t/data/coldpages.c): a slice
# that needs what is not in memory waits for a thread and goes on where it was.
# Streams on every transport, batches, jobs, notifications, clients that leave
# while a thread reads, a disk that fails in the middle.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Compare;
use ElectrumX::Tx qw(scripthash);
use JSON::PP ();
use Time::HiRes qw(time);

my $ENTRIES = 1600;
my $S = 'blockchain.scripthash';
my $JSON = JSON::PP->new->canonical->allow_nonref;

my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
$t->allow_alert(qr/a file of the index can't be read|broken off/);
my $shim = compile_shim();
my $s = ElectrumX::Scenario->new($t, free_only => 1);
my ($node, $coins) = @$s{qw(node coins)};
$node->generate(105);
my $script = $coins->script('drop', 50);
my $sh = scripthash($script);
$node->generate($ENTRIES, $node->raw_descriptor($script));
$s->rescan;
my ($fail, $hold) = map { $t->path("disk-$_") } qw(fails stands);
my %san = $t->san_env;
$s->serve(indexer => { live_window => 20, settle_batch => 5 },
    nginx => { workers => 1, electrumx => 'max_queue 64k;',
        env => { LD_PRELOAD => $shim, COLD_DELAY_US => 1000,
            COLD_FAIL => $fail, COLD_HOLD => $hold,
            ASAN_OPTIONS => "$san{ASAN_OPTIONS}:verify_asan_link_order=0" },
        map { ("${_}_listen" => 'sndbuf=8192') } qw(tcp tls ws) });
my $p = $s->settled($t->client('tcp', timeout => 60));

subtest 'answers' => \&answers;
subtest 'jobs' => \&jobs;
subtest 'clients that leave' => \&leaving;
subtest 'notifications' => \&notifications;
subtest 'a disk that fails' => \&failing;
$t->done;

sub compile_shim {
    my $so = $t->path('coldpages.so');
    my ($out, $status) = ElectrumX::Proc->run(timeout => 60, cmd => [
        $ENV{CC} || 'cc', qw(-D_GNU_SOURCE -shared -fPIC -O1 -o), $so,
        "$ElectrumX::Test::ROOT/t/data/coldpages.c", '-lpthread']);
    die "cc: $out" if $status != 0;
    return $so;
}

sub worker {
    my ($code, $body) = $t->http_get('/status');
    return JSON::PP::decode_json($body)->{worker};
}

sub tasks { return worker()->{cold}{tasks} }

# Waits until what was known of pages is known no longer.
sub forgotten {
    my $end = time + 4.5;
    $t->wait_for(sub { time > $end }, 10, 'known pages to become old');
}

sub same {
    my ($got, $want, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    ok($JSON->encode($got) eq $JSON->encode($want), $name)
        or diag(substr($JSON->encode($got), 0, 300));
}

sub answers {
    for my $how (['tcp'], ['ws'], ['tcp', 12]) {
        my ($transport, $batch) = @$how;
        my $x = $t->client($transport, timeout => 60);
        forgotten();
        my $before = tasks();
        my $cmp = ElectrumX::Compare->new(client => $x, picture => $p,
            batch => $batch);
        $cmp->scripts($sh);
        $cmp->ok($transport . ($batch ? ', batches' : ''));
        cmp_ok(tasks(), '>', $before, 'threads have read');
    }
}

# All who wait for a job get it, whoever found that something was missing.
sub jobs {
    forgotten();
    my @x = map { $t->client($_, timeout => 60) } qw(tcp ws tls wss);
    my @ids = map { [$_->send_request("$S.subscribe", [$sh]),
        $_->send_request("$S.get_balance", [$sh]),
        $_->send_request("$S.get_first_use", [$sh])] } @x;
    for my $x (@x) {
        my $ids = shift @ids;
        is($x->answer($ids->[0])->{result}, $p->status($sh), 'status');
        same($x->answer($ids->[1])->{result}, $p->balance($sh), 'balance');
        is($x->answer($ids->[2])->{result}{tx_hash},
            $p->history($sh)->[0]{tx_hash}, 'first use');
    }
}

# While the disk stands still there is a read under way for each of them.
sub leaving {
    for my $round (1 .. 3) {
        forgotten();
        my @x = map { $t->client($_, timeout => 60, rcvbuf => 16384) }
            qw(tcp ws tls wss);
        if ($round > 1) {
            $_->send_request("$S.get_history", [$sh]) for @x;
            for my $x (@x) {
                $t->wait_for(sub { $x->_fill(0.1) }, 20, 'first bytes');
            }
        }
        my $before = tasks();
        $t->write_file('disk-stands', 'x');
        forgotten() if $round > 1;
        for my $x (@x) {
            $x->send_request($_, [$sh]) for map { "$S.$_" }
                qw(get_history get_status listunspent get_balance);
        }
        if ($round == 1) {
            $t->wait_for(sub { tasks() > $before }, 20, 'a read is under way');
        }
        $_->abort for @x;
        $t->wait_for(sub { worker()->{sessions} == 0 }, 20, 'all have left');
        unlink $hold;
        my $y = $t->client('tcp', timeout => 60);
        same($y->call("$S.get_history", $sh), $p->history($sh),
            'another client is served');
        $y->close;
        $t->wait_for(sub { worker()->{sessions} == 0 }, 20, 'all have left');
    }
}

sub notifications {
    my @x = map { $t->client($_, timeout => 60) } qw(tcp ws);
    is($_->call("$S.subscribe", $sh), $p->status($sh), 'subscribed') for @x;
    for (1 .. 2) {
        forgotten();
        $node->generate(6, $node->raw_descriptor($script));
        $p = $s->settled($t->client('tcp', timeout => 60));
        my $want = $p->status($sh);
        for my $x (@x) {
            my $told = '';
            $t->wait_for(sub {
                $x->pump(0.1);
                $told = $_->{params}[1] for grep {
                    $_->{method} eq "$S.subscribe" } $x->notifications;
                return $told eq $want;
            }, 20, 'the last status');
            is($told, $want, 'told');
        }
    }
}

# Before the first byte it is an error, behind it the connection ends.
sub failing {
    forgotten();
    my $x = $t->client('tcp', timeout => 60);
    $t->write_file('disk-fails', 'x');
    like($x->error_of("$S.listunspent", $sh)->{message}, qr/could not be read/,
        'an error');
    unlink $fail;
    same($x->call("$S.listunspent", $sh), $p->unspent($sh), 'served again');
}
