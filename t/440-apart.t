#!/usr/bin/perl

# Workers and indexer live apart: each goes on when the other is gone, stopped,
# replaced or holds something.  What is served meanwhile is right, says of itself
# that it is stale, and is refused when it is too old.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep time);

my $HEADERS = 'blockchain.headers.subscribe';
my $HISTORY = 'blockchain.scripthash.get_history';
my $WORKERS = 2;
my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
$t->allow_alert(qr/worker process \d+ exited on signal 9/);
my $s = ElectrumX::Scenario->new($t, seed => 440, free_only => 1,
    node => { user => 'u', password => 'p' });
my $node = $s->{node};
$s->base;
$s->grow(30);
my $modes = $t->path('modes');
my %conf = (live_window => 10, settle_batch => 3, keep_generations => 1,
    daemon_url => proxy());
$t->start_indexer(%conf);
$t->wait_ready($node->height);
my %nginx = (workers => $WORKERS, electrumx => 'stale_after 8s;',
    main => 'worker_shutdown_timeout 4s;',
    map { $_ . '_listen' => 'reuseport' } qw(tcp tls ws wss));
$t->start_nginx(%nginx);
my $c = session('tcp');
my $p = $s->settled($c);
# Not those that each new block pays.
my @sh = grep { my $n = @{ $p->history($_) }; $n && $n < 40 } $p->scripthashes;

subtest 'indexer killed: served, flagged, refused, served' => \&down;
subtest 'indexer stopped: flagged' => \&silent;
subtest 'indexer restarted under load' => \&restarts;
subtest 'a client leaves while its call runs' => \&leaves;
subtest 'a stopped worker while blocks settle and are trimmed' => \&stopped;
subtest 'workers killed while they read' => \&killed;
subtest 'new program (USR2) under load' => \&upgrade;
$t->done;

# ---- helpers ----------------------------------------------------------------

sub proxy {
    my $port = $t->port('proxy');
    $t->start('proxy', cmd => [$^X,
        "$ElectrumX::Test::ROOT/t/lib/ElectrumX/trouble-proxy.pl", $port,
        $node->port, $modes, $t->path('requests')]);
    $t->wait_for(sub { $t->_answers($port) }, 5, 'proxy');
    return "http://u:p\@127.0.0.1:$port";
}

sub session {
    my ($transport) = @_;
    my $x = $t->client($transport, timeout => 30);
    $x->version('1.6');
    return $x;
}

# What /status says, of whichever worker answers.
sub page {
    my ($code, $body) = $t->http_get('/status');
    return { code => $code, %{ JSON::PP::decode_json($body) } };
}

sub right {
    my ($x) = @_;
    my $sh = $sh[rand @sh];
    my $a = eval { $x->request($HISTORY, $sh) };
    return 'closed' if !$a;
    return "error $a->{error}{message}" if $a->{error};
    my $json = $ElectrumX::Client::JSON;
    return $json->encode($a->{result}) eq $json->encode($p->history($sh))
        ? 'ok' : 'wrong';
}

# Questions on all sessions for some time, reconnecting those that end; what
# came, counted.
sub load {
    my ($seconds, $sessions, $meanwhile) = @_;
    my %n;
    my $end = time + $seconds;
    my $next = time;
    while (time < $end) {
        for my $x (@$sessions) {
            my $what = right($x);
            $n{$what}++;
            $x = session($x->{transport}) if $what eq 'closed';
        }
        if ($meanwhile && time >= $next) {
            $next = time + ($meanwhile->() || 1);
        }
    }
    note join ', ', map {"$_ $n{$_}"} sort keys %n;
    return %n;
}

sub only {
    my ($name, $n, @may) = @_;
    my @bad = grep { my $w = $_; !grep { $w eq $_ } 'ok', @may } keys %$n;
    is("@bad", '', "$name: nothing else than right answers");
    cmp_ok($n->{ok} // 0, '>', 100, "$name: right answers");
}

# ---- the indexer ------------------------------------------------------------

sub down {
    my $up;
    $t->wait_for(sub { !($up = page())->{stale} }, 5, 'not stale');
    cmp_ok($up->{age}, '<', 5, "age $up->{age}");
    $t->kill_indexer;
    $t->wait_for(sub { page()->{stale} }, 3, 'stale');
    ok(page()->{ready}, 'but ready');
    is(right($c), 'ok', 'served');
    my @x = map { session($_) } qw(tcp tls ws wss);
    my %n = load(3, \@x);
    only('without the indexer', \%n);
    my $e = $t->wait_for(sub { $c->request($HISTORY, $sh[0])->{error} }, 15,
        'refused');
    is($e->{code}, -32603, 'code');
    like($e->{message}, qr/out of date.* 8 s/, 'says why');
    cmp_ok(page()->{age}, '>', 8, 'age');
    like($_->request($HEADERS)->{error}{message}, qr/out of date/,
        "$_->{transport}: refused") for @x;
    ok(!$_->request('server.ping')->{error}, 'ping needs no index') for @x;
    $t->start_indexer(%conf);
    $t->wait_ready($node->height);
    $t->wait_for(sub { right($_) eq 'ok' }, 10, 'served again') for @x;
    ok(1, 'served again on the same connections');
    $t->wait_for(sub { !page()->{stale} }, 5, 'not stale any more');
}

sub silent {
    my $proc = $t->proc('indexer');
    $proc->signal('STOP');
    $t->wait_for(sub { page()->{stale} }, 10, 'stale');
    is(right($c), 'ok', 'served');
    $t->wait_for(sub { $c->request($HISTORY, $sh[0])->{error} }, 15, 'refused');
    $proc->signal('CONT');
    $t->wait_for(sub { right($c) eq 'ok' && !page()->{stale} }, 10,
        'served again');
    ok(1, 'served again, and not stale');
}

sub restarts {
    my @x = map { session($_) } qw(tcp tls ws wss tcp ws);
    my $times = 0;
    my %n = load(8, \@x, sub {
        $times++ % 2 ? $t->kill_indexer : $t->stop_indexer;
        $t->start_indexer(%conf);
        $t->wait_ready($node->height);
        return 0.7;
    });
    cmp_ok($times, '>', 4, "$times restarts");
    only('restarts', \%n);
    $_->call($HEADERS) for @x;
    $node->generate(1);
    is($_->notification($HEADERS, 30)->[0]{height}, $node->height,
        "$_->{transport}: told of a block") for @x;
    $p = $s->settled($c);
}

# Its answer comes when nobody is there any more.
sub leaves {
    my %before = map { $_ => 1 } $t->worker_pids;
    for my $transport (qw(tcp tls ws wss)) {
        $t->write_file('modes', "hang testmempool|sendraw|estimate\n");
        my @x = map { session($transport) } 1 .. 8;
        for my $x (@x) {
            $x->send_request('blockchain.transaction.broadcast', ['00' x 61]);
            $x->send_request('mempool.get_info', []);
            $x->pump(0.02);
        }
        $_->{sock}->close for splice @x, 0, 6;
        is(right($c), 'ok', "$transport: others are served meanwhile");
        $t->write_file('modes', '');
        $_->read_message(20) for @x;
        is(right($x[0]), 'ok', "$transport: the session that waits");
    }
    $t->wait_for(sub { page()->{worker}{sessions} < 8 }, 10, 'sessions gone');
    my @gone = grep { !$before{$_} } $t->worker_pids;
    is("@gone", '', 'the same workers');
}

# ---- workers ----------------------------------------------------------------

# Generations that a process holds a lease on (tables are mapped once, by the
# name they had in the first of them).
sub generations_of {
    my ($pid) = @_;
    my @dirs = sort map { (readlink($_) // '') =~ m{^(/.*/generations/\d+)/lease}
        ? $1 : () } glob "/proc/$pid/fd/*";
    return @dirs;
}

sub stopped {
    # Not on the first one, which is kept for a fallback anyway.
    $s->grow(9, exactly => 1);
    $t->wait_for(sub { $t->status->{settled_height} >= $node->height - 12 },
        20, 'settled');
    $c = session('tcp');
    $p = $s->settled($c);
    $t->wait_for(sub {
        right(session('tcp'));
        !grep {/\/0*1$/} map { generations_of($_) } $t->worker_pids
    }, 10, 'workers on a later generation');
    my ($victim) = grep { generations_of($_) } $t->worker_pids;
    my %held = map { $_ => [generations_of($_)] } $t->worker_pids;
    my @x = map { session('tcp') } 1 .. 12;
    my @old = map {@$_} values %held;
    cmp_ok(scalar @old, '>', 0, "generation held: @old");
    kill 'STOP', $victim;
    my $had = $t->status->{settled_height};
    for (1 .. 12) {
        $s->grow(3, exactly => 2);
        sleep 0.1;
    }
    $t->wait_for(sub { $t->status->{settled_height} >= $node->height - 13 },
        30, 'settled');
    cmp_ok($t->status->{settled_height}, '>', $had + 20, 'settled on');
    ok(-d $_, "still there: $_") for @{ $held{$victim} };
    is($t->status->{state}, 'ready', 'ready');
    # Past the deadline after which the worker's generation leaves the list.
    my $end = time + 32;
    while (time < $end) {
        $node->generate(1);
        sleep 1;
    }
    ok(-d $_, "never pruned: $_") for @{ $held{$victim} };
    $p = $s->{model}->picture;
    kill 'CONT', $victim;
    my %n;
    for my $x (@x) {
        my $tip = $x->call($HEADERS);
        is($tip->{height}, $node->height, 'the tip of now') || last;
        $n{ right($x) }++;
    }
    is(join(' ', keys %n), 'ok', 'all sessions are right, at once');
    $t->wait_for(sub {
        $node->generate(1);
        sleep 0.2;
        !grep { -d $_ } @old
    }, 20, 'old generations go');
    ok(1, 'old generations are removed when nobody holds them');
}

# At random times, with many questions under way: readers' slots are given
# back, or the environment would grow and at last be full.
sub killed {
    my @x = map { session($_) } qw(tcp tls ws wss tcp tcp);
    my $n = 0;
    my %n = load(8, \@x, sub {
        my @w = $t->worker_pids;
        kill 'KILL', $w[rand @w];
        $t->wait_for(sub { $t->worker_pids == $WORKERS }, 5, 'a new worker');
        $node->generate(1) if $n++ % 2;
        return 0.25;
    });
    cmp_ok($n, '>', 12, "$n workers killed");
    is(scalar(grep { !/^(?:ok|closed)$/ } keys %n), 0, 'no wrong answer')
        or diag join ', ', keys %n;
    $t->wait_for(sub { slots_of_the_dead() == 0 }, 10, 'slots given back');
    ok(1, 'no slot of a dead reader is left');
}

# Slots of LMDB's table of readers (lock.mdb: 64-byte lines from byte 128 on:
# transaction, pid, thread) whose process does not live.
sub slots_of_the_dead {
    my $current = $t->read_file($t->data . '/live/CURRENT') // return -1;
    my ($name) = split /\s/, $current;
    my $table = $t->read_file($t->data . "/live/$name/lock.mdb") // return -1;
    my $dead = 0;
    for (my $i = 128; $i + 64 <= length $table; $i += 64) {
        my $pid = unpack 'l', substr $table, $i + 8, 4;
        $dead++ if $pid && !kill 0, $pid;
    }
    return $dead;
}

sub children {
    my ($pid) = @_;
    return split ' ', join ' ', map { $t->read_file($_) // '' }
        glob "/proc/$pid/task/*/children";
}

sub master { return 0 + ($t->read_file('nginx.pid') // 0) }

# A daemon, as nginx takes no USR2 while the process that started it waits.
sub upgrade {
    $t->stop_nginx;
    my ($out, $status) = ElectrumX::Proc->run(timeout => 20, cmd => [
        ElectrumX::Test::nginx_program(), '-p', $t->dir, '-e',
        $t->path('nginx-error.log'), '-c', $t->path('nginx.conf')]);
    is($status, 0, 'nginx as a daemon') or diag $out;
    my $old = $t->wait_for(sub { master() }, 5, 'a master');
    my @old = $t->wait_for(sub { children($old) == $WORKERS }, 5, 'workers')
        ? children($old) : ();
    my @x = map { session($_) } qw(tcp tls ws wss tcp ws);
    my ($new, $step) = (undef, 0);
    my %n = load(9, \@x, sub {
        $step++;
        kill 'USR2', $old if $step == 1;
        if ($step == 2) {
            $new = $t->wait_for(sub { my $pid = master();
                $pid != $old && $pid }, 5, 'a new master');
            kill 'WINCH', $old;
        }
        kill 'QUIT', $old if $step == 3;
        return 1;
    });
    only('upgrade', \%n, 'closed');
    isnt($new, $old, "master $old, then $new");
    $t->wait_for(sub {
        !grep { waitpid $_, POSIX::WNOHANG(); kill 0, $_ } $old, @old
    }, 10, 'the old workers end');
    ok(1, 'the old workers end within worker_shutdown_timeout');
    is(right(session($_)), 'ok', "$_: served by the new ones")
        for qw(tcp tls ws wss);
    my @all = ($new, children($new));
    kill 'TERM', $new;
    $t->wait_for(sub { !grep { waitpid $_, POSIX::WNOHANG(); kill 0, $_ } @all },
        10, 'its end');
}
