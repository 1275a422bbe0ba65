#!/usr/bin/perl

# Requests that need what is not in memory: a shim plays a page cache that
# forgets each page after one look and a disk of 3 ms.  Every answer is the
# model's all the same; clients that leave, a reload, notifications, a disk that
# fails; and the same with "threads off", which waits.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use ElectrumX::Compare;
use JSON::PP ();
use Time::HiRes qw(sleep time);

my $S = 'blockchain.scripthash';
my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
$t->allow_alert(qr/a file of the index can't be read/);
my $shim = compile_shim();
my $s = ElectrumX::Scenario->new($t, seed => 440, free_only => 1);
my $node = $s->{node};
$s->base;
$s->heavy(60);
$s->grow(30);
$node->generate(12);
my %san = $t->san_env;
my $fail = $t->path('disk-fails');
my $hold = $t->path('disk-stands');
my %nginx = (env => { LD_PRELOAD => $shim, COLD_DELAY_US => 3000,
    COLD_FAIL => $fail, COLD_HOLD => $hold,
    ASAN_OPTIONS => "$san{ASAN_OPTIONS}:verify_asan_link_order=0" });
$s->serve(indexer => { live_window => 10, settle_batch => 3 },
    nginx => \%nginx);
my $p = $s->{model}->picture;
my @sh = grep { @{ $p->history($_) } } $p->scripthashes;

subtest 'all answers' => \&answers;
subtest 'others go on' => \&others;
subtest 'clients that leave' => \&leaving;
subtest 'notifications' => \&notifications;
subtest 'a disk that fails' => \&failing;
subtest 'reload' => \&reload;
subtest 'threads off' => \&off;
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

# Counters of the (one) worker.
sub cold {
    return worker()->{cold};
}

# Waits until what was known of pages is known no longer.
sub forgotten {
    my $end = time + 4.5;
    $t->wait_for(sub { time > $end }, 10, 'known pages to become old');
}

sub canonical { return $ElectrumX::Client::JSON->encode($_[0]) }

sub answers {
    for my $how (['tcp', '1.6'], ['ws', '1.4'], ['tcp', '1.6', 50]) {
        my ($transport, $version, $batch) = @$how;
        my $c = $t->client($transport, timeout => 30);
        $c->version($version);
        my $before = cold()->{tasks};
        my $cmp = ElectrumX::Compare->new(client => $c, picture => $p,
            version => $version, batch => $batch);
        $cmp->all;
        $cmp->ok("$transport, $version" . ($batch ? ', batches' : ''));
        my $now = cold();
        cmp_ok($now->{tasks}, '>', $before, 'threads have read');
        note explain $now;
        $c->close;
        forgotten();
    }
}

# As long as the disk stands still, histories of one client are put aside; a
# ping of its own behind them and those of another client are answered.
sub others {
    my ($busy, $other) = map { $t->client('tcp', timeout => 30) } 1, 2;
    $_->version('1.6') for $busy, $other;
    my @r = map { $busy->make_request("$S.get_history", [$sh[$_ % @sh]]) }
        0 .. 59;
    my %want = map { $_->{id} => $_->{params}[0] } @r;
    my $last = $busy->make_request('server.ping', []);
    my $ping = $last->{id};
    $t->write_file('disk-stands', 'x');
    $busy->send_raw(join '',
        map { $busy->framed($busy->encode($_)) } @r, $last);
    my ($answers, $before, $wrong) = (0, undef, 0);
    while (%want) {
        my $m = $busy->read_message(20) or last;
        if ($m->{id} eq $ping) {
            $before = $answers;
            is($other->call('server.ping'), undef, 'another client');
            unlink $hold;
            next;
        }
        my $sh = delete $want{ $m->{id} };
        $answers++;
        $wrong++ if canonical($m->{result}) ne canonical($p->history($sh));
    }
    unlink $hold;
    is(scalar(keys %want), 0, 'all are answered');
    is($wrong, 0, 'and right');
    cmp_ok($before // 60, '<', 60, 'a ping overtakes what waits');
    forgotten();
}

sub leaving {
    for my $round (1 .. 4) {
        my @c = map { $t->client((qw(tcp ws tls wss))[$_ % 4]) } 0 .. 11;
        for my $c (@c) {
            $c->version('1.6');
            my @r = map {
                $c->make_request("$S.get_history", [$sh[rand @sh]]),
                    $c->make_request("$S.subscribe", [$sh[rand @sh]])
            } 1 .. 100;
            my $text = $round % 2
                ? join('', map { $c->framed($c->encode($_)) } @r)
                : $c->framed('[' . join(',', map { $c->encode($_) } @r) . ']');
            $c->send_raw($text);
        }
        $_->read_message(10) for @c[0 .. 2];
        close $_->{sock} for @c;
        my $c = $t->client('tcp', timeout => 20);
        is(canonical($c->call("$S.get_history", $sh[$round])),
            canonical($p->history($sh[$round])), 'another client is served');
        $c->close;
        forgotten() if $round < 4;
    }
    $t->wait_for(sub { worker()->{sessions} == 0 }, 20, 'no session is left');
    pass('no session is left');
}

sub notifications {
    my $c = $t->client('tcp', timeout => 30);
    $c->version('1.6');
    $c->call('blockchain.headers.subscribe');
    my %old = map { $_ => $c->call("$S.subscribe", $_) } @sh;
    is(scalar(grep { ($old{$_} // '') ne ($p->status($_) // '') } @sh), 0,
        'statuses');
    forgotten();
    my $before = cold()->{tasks};
    $s->grow(3, max => 8);
    $p = $s->settled($c, \@sh);
    my @changed = grep { ($p->status($_) // '') ne ($old{$_} // '') } @sh;
    cmp_ok(scalar @changed, '>', 0, 'some scripts have changed');
    my %told = %old;
    $t->wait_for(sub {
        $c->pump(0.1);
        $told{ $_->{params}[0] } = $_->{params}[1] for
            grep { $_->{method} eq "$S.subscribe" } $c->notifications;
        return !grep { ($told{$_} // '') ne ($p->status($_) // '') } @changed;
    }, 20, 'all are told');
    pass('all are told');
    cmp_ok(cold()->{tasks}, '>', $before, 'threads have read');
    $c->close;
}

sub failing {
    my $c = $t->client('tcp', timeout => 30);
    forgotten();
    $t->write_file('disk-fails', 'x');
    my $error = $c->error_of("$S.get_history", $sh[3]);
    is($error->{code}, -32603, 'an error');
    like($error->{message}, qr/could not be read/, 'that says so');
    unlink $fail;
    is(canonical($c->call("$S.get_history", $sh[3])),
        canonical($p->history($sh[3])), 'and served again');
    $c->close;
}

sub reload {
    forgotten();
    my $c = $t->client('tcp', timeout => 30);
    my @r = map { $c->make_request("$S.get_history", [$sh[$_ % @sh]]) }
        0 .. 199;
    my %want = map { $_->{id} => $_->{params}[0] } @r;
    $c->send_raw(join '', map { $c->framed($c->encode($_)) } @r);
    my $first = $c->read_message(10);
    my %old = map { $_ => 1 } $t->worker_pids;
    $t->proc('nginx')->signal('HUP');
    my ($answers, $wrong) = (0, 0);
    for (my $m = $first; $m; $m = %want ? $c->read_message(20) : undef) {
        my $sh = delete $want{ $m->{id} };
        $answers++;
        $wrong++ if canonical($m->{result}) ne canonical($p->history($sh));
    }
    is($wrong, 0, "$answers answers are right");
    $c->close;
    $t->wait_for(sub { !grep { $old{$_} } $t->worker_pids }, 20,
        'the old worker ends');
    my $new = $t->client('tcp', timeout => 30);
    is(canonical($new->call("$S.get_history", $sh[0])),
        canonical($p->history($sh[0])), 'the new one serves');
    $new->close;
}

sub off {
    $t->write_file('nginx.conf',
        $t->nginx_conf(%nginx, electrumx => 'threads off;'));
    $t->reload_nginx;
    my $c = $t->client('tcp', timeout => 30);
    $c->version('1.6');
    my $cmp = ElectrumX::Compare->new(client => $c, picture => $p,
        version => '1.6');
    $cmp->scripts;
    $cmp->ok('answers');
    is(cold()->{tasks}, 0, 'no thread has read');
    $c->close;
}
