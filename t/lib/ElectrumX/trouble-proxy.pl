#!/usr/bin/perl

# trouble-proxy.pl LISTEN_PORT NODE_PORT MODE_FILE LOG_FILE
#
# Stands between the indexer and a node and spoils what MODE_FILE says, looked at
# for each request: lines "MODE REGEX", the first whose REGEX fits the method
# (JSON-RPC) or path (REST) counts; "node PORT" passes to another node.  Each
# request is a line of LOG_FILE: time, method.  A process for each connection.
#
#   hang       no answer until the mode changes    slow      0.3 s late
#   close      closed without an answer            truncate  half the body
#   garbage    not JSON                            type      JSON of another shape
#   401 403 503 500                                such a status
#   warmup     error -28                           genesis   that block, always
#   notfound   as a pruned node says it            refuse    error -1 for all
#   alter      a block's last four bytes are others: its last transaction is

use strict;
use warnings;
use Fcntl ();
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();
use Time::HiRes qw(sleep time);

my ($listen, $node, $modes, $log) = @ARGV;
my $JSON = JSON::PP->new->utf8->allow_nonref;
my %REASON = (401 => 'Unauthorized', 403 => 'Forbidden',
    500 => 'Internal Server Error', 503 => 'Service Unavailable');
my $out;    # the node's end
$SIG{CHLD} = 'IGNORE';
$SIG{PIPE} = 'IGNORE';
my $l = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $listen,
    Listen => 50, ReuseAddr => 1) or die "listen: $!";
while (1) {
    my $c = $l->accept or next;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        close $l;
        setsockopt $c, Socket::IPPROTO_TCP(), Socket::TCP_NODELAY(), 1;
        1 while serve($c);
        POSIX::_exit(0);
    }
    close $c;
}

# ---- HTTP -------------------------------------------------------------------

# (head, body), or nothing at the end.
sub read_http {
    my ($s) = @_;
    my $in = '';
    while ($in !~ /\r\n\r\n/) {
        sysread $s, $in, 65536, length $in or return;
    }
    my ($head, $body) = split /\r\n\r\n/, $in, 2;
    my ($length) = $head =~ /^Content-Length: *(\d+)/mi;
    while (length $body < ($length // 0)) {
        sysread $s, $body, $length - length $body, length $body or return;
    }
    return ($head, $body);
}

sub write_all {
    my ($s, $bytes) = @_;
    while (length $bytes) {
        my $n = syswrite $s, $bytes or return 0;
        substr $bytes, 0, $n, '';
    }
    return 1;
}

sub reply {
    my ($c, $status, $body) = @_;
    return write_all($c, "HTTP/1.1 $status " . ($REASON{$status} // 'OK')
            . "\r\nContent-Type: application/json\r\nContent-Length: "
            . length($body) . "\r\n\r\n$body");
}

sub from_node {
    my ($head, $body, $port) = @_;
    my $n = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port)
        or return;
    $head =~ s/^Connection:.*\r\n//mig;
    write_all($n, "$head\r\nConnection: close\r\n\r\n$body") or return;
    my ($h, $b) = read_http($n) or return;
    $h =~ s/^Connection:.*(?:\r\n|\z)//mig;
    $h =~ s/\s+\z//;
    return ($h, $b);
}

# ---- one request ------------------------------------------------------------

sub what {
    my ($head, $body) = @_;
    my ($path) = $head =~ /^GET (\S+)/;
    return ($path, []) if defined $path;
    my $q = eval { $JSON->decode($body) };
    my $first = ref $q eq 'ARRAY' ? $q->[0] : $q;
    return ($first->{method} // '?', ref $q eq 'ARRAY' ? $q : [$q], ref $q);
}

# Mode for a method, and the node's port.
sub mode {
    my ($method) = @_;
    my ($port, $mode) = ($node);
    open my $fh, '<', $modes or return ('pass', $node);
    while (<$fh>) {
        my ($word, $arg) = split ' ';
        $port = $arg if $word eq 'node';
        $mode //= $word if $word ne 'node' && $method =~ /$arg/;
    }
    return ($mode // 'pass', $port);
}

sub note_request {
    my ($method) = @_;
    sysopen my $fh, $log, Fcntl::O_WRONLY() | Fcntl::O_CREAT()
        | Fcntl::O_APPEND() or return;
    syswrite $fh, sprintf "%.3f %s\n", time, $method;
}

sub rpc_error {
    my ($c, $q, $shape, $code, $message) = @_;
    my @a = map { { id => $_->{id}, result => undef,
        error => { code => $code, message => $message } } } @$q;
    return reply($c, $shape eq 'ARRAY' ? 200 : 500,
        $JSON->encode($shape eq 'ARRAY' ? \@a : $a[0]));
}

# True: go on with this connection.
sub serve {
    my ($c) = @_;
    my ($head, $body) = read_http($c) or return 0;
    my ($method, $q, $shape) = what($head, $body);
    note_request($method);
    my ($mode, $port) = mode($method);
    return spoil($c, $mode, $method, $q, $shape)
        if $mode =~ /^(?:hang|close|garbage|type|\d+|warmup|notfound|refuse)$/;
    sleep 0.3 if $mode eq 'slow';
    ($head, $body) = genesis($head, $body, $method, $q) if $mode eq 'genesis';
    my ($h, $b) = from_node($head, $body, $port) or return 0;
    alter(\$b) if $mode eq 'alter';
    my $all = "$h\r\n\r\n$b";
    return write_all($c, $all) if $mode ne 'truncate';
    write_all($c, substr $all, 0, length($h) + 4 + int(length($b) / 2));
    return 0;
}

sub spoil {
    my ($c, $mode, $method, $q, $shape) = @_;
    if ($mode eq 'hang') {
        sleep 0.1 while (mode($method))[0] eq 'hang';
        return 0;
    }
    return 0 if $mode eq 'close';
    return reply($c, 200, '{"result": {{{ nonsense') if $mode eq 'garbage';
    return reply($c, 200, '{"id":1,"error":null,"result":{"x":[1,"y"]}}')
        if $mode eq 'type';
    return rpc_error($c, $q, $shape, -28, 'Loading block index...')
        if $mode eq 'warmup';
    return reply($c, 404, "not found\r\n")
        if $mode eq 'notfound' && !@$q;
    return rpc_error($c, $q, $shape, -1,
        'Block not available (pruned data)') if $mode =~ /^notf|^ref/ && @$q;
    return reply($c, $mode, $mode eq '503' ? 'Work queue depth exceeded' : '');
}

# Bytes, or hex digits in JSON; the lock time of the last transaction.
sub alter {
    my ($b) = @_;
    if ($$b =~ /^\{"result":"/) {
        $$b =~ s/[0-9a-f]{8}"/cafe0000"/;
        return;
    }
    substr $$b, -4, 4, "\xca\xfe\0\0";
}

sub genesis {
    my ($head, $body, $method, $q) = @_;
    my $id = '0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206';
    return ($head =~ s{(/rest/block/)[0-9a-f]{64}}{$1$id}r, $body) if !@$q;
    $q->[0]{params}[0] = $id;
    $body = $JSON->encode($q->[0]);
    $head =~ s/^(Content-Length: *)\d+/$1 . length $body/mie;
    return ($head, $body);
}
