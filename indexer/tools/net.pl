#!/usr/bin/perl
# net.pl COMMAND ...: small network questions of run.sh; needs only perl-base.
#
#   net.pl free N                    N free TCP ports of 127.0.0.1
#   net.pl bind HOST PORT ...        can each be bound? prints those that not
#   net.pl electrum HOST PORT        server.version over TCP: answered?
#   net.pl http HOST PORT PATH       HTTP: any answer below 500?
#   net.pl ws HOST PORT              WebSocket: upgraded?
use strict;
use warnings;
use Socket qw(:DEFAULT getaddrinfo SOCK_STREAM SOL_SOCKET SO_REUSEADDR
    AI_PASSIVE AI_NUMERICHOST IPPROTO_TCP);

my $command = shift // '';

sub addresses {
    my ($host, $port, $flags) = @_;
    my ($err, @list) = getaddrinfo($host, $port,
        { socktype => SOCK_STREAM, protocol => IPPROTO_TCP, flags => $flags });
    die "$host: $err\n" if $err;
    return @list;
}

sub free {
    my ($n) = @_;
    my @open;
    for (1 .. $n) {
        socket(my $s, PF_INET, SOCK_STREAM, 0) or die "socket: $!\n";
        bind($s, sockaddr_in(0, INADDR_LOOPBACK)) or die "bind: $!\n";
        push @open, $s;
    }
    print join(' ', map { (sockaddr_in(getsockname $_))[0] } @open), "\n";
}

sub try_bind {
    my ($host, $port) = @_;
    my ($a) = addresses($host, $port, AI_PASSIVE);
    socket(my $s, $a->{family}, SOCK_STREAM, 0) or return "$!";
    setsockopt($s, SOL_SOCKET, SO_REUSEADDR, 1);
    return bind($s, $a->{addr}) && listen($s, 1) ? undef : "$!";
}

sub connected {
    my ($host, $port) = @_;
    my ($a) = addresses($host, $port, 0);
    socket(my $s, $a->{family}, SOCK_STREAM, 0) or die "socket: $!\n";
    connect($s, $a->{addr}) or exit 1;
    select((select($s), $| = 1)[0]);
    return $s;
}

# The first answer to $request that matches $want ends it well.
sub ask {
    my ($host, $port, $request, $want) = @_;
    my $s = connected($host, $port);
    print {$s} $request;
    my $answer = '';
    while (sysread $s, $answer, 65536, length $answer) {
        exit 0 if $answer =~ $want;
    }
    exit 1;
}

$SIG{ALRM} = sub { exit 1 };
$SIG{PIPE} = 'IGNORE';
alarm 5;

if ($command eq 'free') {
    free($ARGV[0] // 1);
} elsif ($command eq 'bind') {
    my ($host, @ports) = @ARGV;
    my $bad = 0;
    for my $port (@ports) {
        my $why = try_bind($host, $port) // next;
        print "$port $why\n";
        $bad = 1;
    }
    exit $bad;
} elsif ($command eq 'electrum') {
    ask(@ARGV[0, 1],
        qq({"jsonrpc":"2.0","id":0,"method":"server.version",)
            . qq("params":["run.sh","1.4"]}\n),
        qr/"result"\s*:.*\n/);
} elsif ($command eq 'http') {
    ask(@ARGV[0, 1], "GET $ARGV[2] HTTP/1.0\r\nHost: localhost\r\n\r\n",
        qr{^HTTP/1\.\d [1-4]\d\d });
} elsif ($command eq 'ws') {
    ask(@ARGV[0, 1],
        "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
            . "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            . "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        qr{^HTTP/1\.1 101 });
} else {
    open my $self, '<', $0 or die "$0: $!\n";
    while (<$self>) { last if /^use/; print STDERR $_ if s/^# ?// }
    exit 2;
}
