#!/usr/bin/perl

# nginx reload (SIGHUP) and the death of a worker (SIGKILL) during traffic:
# sessions on other workers go on unharmed, every answer that arrives is whole
# and right, and new connections are served at once.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use Time::HiRes qw(sleep time);

my $WORKERS = 2;
my $t = ElectrumX::Test->new(
    needs => [qw(nginx indexer bitcoind openssl tls)]);
$t->allow_alert(qr/worker process \d+ exited on signal 9/);
my $s = ElectrumX::Scenario->new($t, seed => 410, free_only => 1);
$s->base;
$s->grow(20);
# reuseport spreads the sessions over the workers.
$s->serve(indexer => { live_window => 20 }, nginx => { workers => $WORKERS,
    map { $_ . '_listen' => 'reuseport' } qw(tcp tls ws wss) });
my $p = $s->{model}->picture;
my @sh = grep { @{ $p->history($_) } } $p->scripthashes;
my @transports = qw(tcp tls ws wss);

my @sessions = map { open_session($transports[$_ % 4]) } 0 .. 23;
subtest 'a worker is killed' => \&worker_killed for 1, 2;
subtest 'reload' => \&reload;
subtest 'reload with long requests under way' => \&reload_busy;
subtest 'notifications after all this' => \&notifications;
$t->done;

# ---- sessions ---------------------------------------------------------------

sub open_session {
    my ($transport) = @_;
    my $c = $t->client($transport);
    $c->version('1.6');
    return { client => $c, transport => $transport,
        worker => worker_of($c) };
}

# Pid of the worker that holds the other end of the connection.
sub worker_of {
    my ($c) = @_;
    my ($there, $here) = map { sprintf ':%04X', $_ }
        $c->{port}, $c->{sock}->sockport;
    my $inode;
    for (split /\n/, $t->read_file('/proc/net/tcp')) {
        my @f = split ' ';
        $inode = $f[9] if $f[1] =~ /$there$/ && $f[2] =~ /$here$/;
    }
    for my $pid ($t->worker_pids) {
        for my $fd (glob "/proc/$pid/fd/*") {
            return $pid if (readlink($fd) // '') eq "socket:[$inode]";
        }
    }
    return 0;
}

# One question; 'ok', 'closed', or what is wrong with the answer.
sub ask {
    my ($session) = @_;
    my $sh = $sh[rand @sh];
    my $answer = eval { $session->{client}->request(
            'blockchain.scripthash.get_history', $sh) };
    if (!$answer) {
        return 'closed' if ref $@ && $@->{closed} || $@ =~ /^write: /;
        return ref $@ ? $@->{message} : $@;
    }
    return 'error ' . JSON::PP::encode_json($answer->{error})
        if $answer->{error};
    my $want = canonical($p->history($sh));
    return canonical($answer->{result}) eq $want ? 'ok' : 'wrong answer';
}

sub canonical { return $ElectrumX::Client::JSON->encode($_[0]) }

# Asks on all sessions in turn for some time; [session, result] of failures.
sub traffic {
    my ($seconds, $meanwhile) = @_;
    my ($end, $count, $slowest, @bad) = (time + $seconds, 0, 0);
    my $half = time + $seconds / 4;
    while (time < $end) {
        for my $session (grep { !$_->{closed} } @sessions) {
            my $start = time;
            my $result = ask($session);
            note "slow: $session->{transport} $result" if time - $start > 0.5;
            $count++;
            $slowest = time - $start if time - $start > $slowest;
            next if $result eq 'ok';
            $session->{closed} = 1;
            push @bad, [$session, $result];
        }
        if ($meanwhile && time > $half) {
            $meanwhile->();
            undef $meanwhile;
        }
    }
    note sprintf '%d answers, slowest %.3f s', $count, $slowest;
    return @bad;
}

# New connections on each transport, served without delay.
sub served_at_once {
    my ($what) = @_;
    for my $transport (@transports) {
        my $start = time;
        my $session = eval { open_session($transport) };
        is($session ? ask($session) : explain($@), 'ok',
            "$what: $transport");
        cmp_ok(time - $start, '<', 1.5 + 2 * ElectrumX::Test::slowness(),
            'without delay');
    }
}

sub reopen {
    $_ = $_->{closed} ? open_session($_->{transport}) : $_ for @sessions;
}

# ---- what happens -----------------------------------------------------------

sub worker_killed {
    my %by;
    push @{ $by{ $_->{worker} } }, $_ for @sessions;
    my ($victim) = sort { @{ $by{$a} } <=> @{ $by{$b} } } grep {$_} keys %by;
    my %hurt = map { $_ => 1 } @{ $by{$victim} };
    note scalar(keys %hurt), ' of ', scalar(@sessions),
        ' sessions on the worker';
    cmp_ok(scalar keys %hurt, '<', @sessions, 'others are on other workers');
    my @bad = traffic(2, sub {
        kill 'KILL', $victim;
        sleep 0.1;
        served_at_once('after the kill');
    });
    my @others = map {"$_->[0]{transport}: $_->[1]"}
        grep { !$hurt{ $_->[0] } } @bad;
    is("@others", '', 'sessions on other workers unharmed');
    is(scalar(grep { $_->[1] ne 'closed' } @bad), 0, 'no half answer');
    is(scalar @bad, scalar(keys %hurt), 'sessions of the worker closed');
    $t->wait_for(sub { $t->worker_pids == $WORKERS }, 5, 'a new worker');
    reopen();
}

sub reload {
    my %old = map { $_ => 1 } $t->worker_pids;
    my @bad = traffic(3, sub {
        $t->reload_nginx(workers => $WORKERS);
        served_at_once('after the reload');
    });
    is(join(', ', map { $_->[1] } grep { $_->[1] ne 'closed' } @bad), '',
        'each answer that came was whole and right');
    note scalar(@bad), ' sessions were closed';
    my @new = map { open_session($_) } @transports;
    is(scalar(grep { $old{ $_->{worker} } } @new), 0,
        'new sessions are on new workers');
    old_workers_end(%old);
    reopen();
}

# Old sessions are closed bit by bit, then the old workers are gone.
sub old_workers_end {
    my (%old) = @_;
    my $start = time;
    ok($t->wait_for(sub { !grep { $old{$_} } $t->worker_pids }, 15,
        'old workers end'), 'old workers end');
    note sprintf '%.1f s later', time - $start;
}

# Requests that were sent before the reload are answered or the connection is
# closed between two answers: never a half one.
sub reload_busy {
    my @calls = map { ['blockchain.scripthash.get_history', $sh[rand @sh]] }
        1 .. 400;
    my @busy = map { open_session($transports[$_ % 4]) } 0 .. 7;
    for my $session (@busy) {
        my $c = $session->{client};
        my @r = map { $c->make_request($_->[0], [$_->[1]]) } @calls;
        $session->{want} = { map { $_->{id} => $_->{params}[0] } @r };
        $c->send_raw(join '', map { $c->framed($c->encode($_)) } @r);
    }
    my %old = map { $_ => 1 } $t->worker_pids;
    $t->proc('nginx')->signal('HUP');
    my ($answers, $wrong, $half) = (0, 0, 0);
    for my $session (@busy) {
        my $c = $session->{client};
        while (keys %{ $session->{want} }) {
            my $m = $c->read_message(20) or last;
            my $sh = delete $session->{want}{ $m->{id} };
            $answers++;
            $wrong++ if canonical($m->{result})
                ne canonical($p->history($sh));
        }
        $c->read_text(0.1);    # a close frame
        $half++ if length($c->{in}) || $c->{ws} && length $c->{ws}{in};
        $session->{left} = keys %{ $session->{want} };
    }
    is($wrong, 0, 'right answers');
    is($half, 0, 'no half answer');
    note "$answers answers, not answered: ",
        join ' ', map { $_->{left} } @busy;
    is(scalar(grep { $_->{left} } @busy), 0,
        'all requests sent before were answered');
    served_at_once('then');
    old_workers_end(%old);
    $_->{closed} = 1 for @sessions;
    reopen();
}

sub notifications {
    $_->{closed} = ask($_) ne 'ok' for @sessions;
    reopen();
    $_->{client}->call('blockchain.headers.subscribe') for @sessions;
    $s->{node}->generate(1);
    my $told = grep { eval { $_->{client}->notification(
                'blockchain.headers.subscribe', 30) } } @sessions;
    is($told, scalar @sessions, 'all sessions are told of a block');
}
