#!/usr/bin/perl

# slow-proxy.pl LISTEN_PORT NODE_PORT MILLISECONDS
#
# Stands between the indexer and a node: passes all bytes on, each piece from
# the indexer that much later, so that an initial sync takes long enough to be
# looked at, or killed in the middle.  A process for each connection.

use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use POSIX ();

my ($listen, $node, $ms) = @ARGV;
$SIG{CHLD} = 'IGNORE';
my $l = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $listen,
    Listen => 50, ReuseAddr => 1) or die "listen: $!";
while (1) {
    my $c = $l->accept or next;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        close $l;
        pass($c);
        POSIX::_exit(0);
    }
    close $c;
}

sub pass {
    my ($c) = @_;
    my $n = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $node)
        or return;
    setsockopt $_, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1 for $c, $n;
    my $sel = IO::Select->new($c, $n);
    while (1) {
        for my $from ($sel->can_read) {
            my $got = sysread $from, my $buf, 1 << 20;
            return if !$got;
            select undef, undef, undef, $ms / 1000 if $from == $c;
            print { $from == $c ? $n : $c } $buf or return;
            ($from == $c ? $n : $c)->flush;
        }
    }
}
