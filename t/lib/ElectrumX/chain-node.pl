#!/usr/bin/perl

# chain-node.pl PORT FILE
#
# A node that has the blocks and the mempool of FILE, which is read again when
# it changes: lines "block HEX" from the genesis block on, lines "tx HEX". It
# answers what an indexer asks and nothing else. A process for each connection.

use lib 't/lib';
use strict;
use warnings;
use ElectrumX::Tx qw(sha256d display txid_of);
use IO::Socket::INET;
use JSON::PP ();
use POSIX ();

my ($port, $file) = @ARGV;
my $JSON = JSON::PP->new->allow_nonref;
my (@blocks, @hashes, %height, %pool, $stamp);
my %call = (
    getblockchaininfo => sub { return { chain => 'regtest', blocks => $#hashes,
        headers => $#hashes, bestblockhash => $hashes[-1], pruned => \0,
        initialblockdownload => \0, verificationprogress => 1 } },
    getbestblockhash => sub { $hashes[-1] },
    getblockcount    => sub { $#hashes },
    getblockhash     => sub { $hashes[$_[0]] // die "-8 out of range\n" },
    getblockheader   => \&header,
    getblock         => sub { unpack 'H*', $blocks[at($_[0])] },
    getchaintxstats  => sub { return { txcount => 100 } },
    getrawmempool    => sub { return [sort keys %pool] },
    getmempoolinfo   => sub { return { size => 0 + keys %pool,
        bytes => length join('', values %pool), mempoolminfee => 0.00001 } },
    getnetworkinfo   => sub { return { version => 280000, relayfee => 0.00001,
        subversion => '/Bitcoin Cash Node:28.0.0/' } },
    estimatefee      => sub { 0.00001 },
    getrawtransaction => \&transaction,
);
$SIG{CHLD} = 'IGNORE';
my $l = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port,
    Listen => 50, ReuseAddr => 1) or die "listen: $!";
while (1) {
    my $c = $l->accept or next;
    my $pid = fork // die "fork: $!";
    if (!$pid) {
        close $l;
        1 while request($c);
        POSIX::_exit(0);
    }
    close $c;
}

sub load {
    my $now = join ' ', (stat $file)[1, 7, 9];
    return if defined $stamp && $stamp eq $now;
    open my $fh, '<', $file or die "$file: $!";
    ($stamp, @blocks, @hashes, %height, %pool) = ($now);
    while (<$fh>) {
        my ($what, $hex) = split;
        my $raw = pack 'H*', $hex;
        $pool{ txid_of($raw) } = $raw if $what eq 'tx';
        next if $what ne 'block';
        push @blocks, $raw;
        push @hashes, display(sha256d(substr $raw, 0, 80));
        $height{ $hashes[-1] } = $#hashes;
    }
}

sub at { return $height{ $_[0] } // die "-5 Block not found\n" }

sub header {
    my $h = at($_[0]);
    return { height => $h, confirmations => @hashes - $h,
        $h ? (previousblockhash => $hashes[$h - 1]) : () };
}

sub transaction {
    my ($txid, undef, $block) = @_;
    return unpack 'H*', $pool{$txid} if $pool{$txid};
    die "-5 No such mempool transaction\n" if !defined $block;
    my $b = ElectrumX::Tx::parse_block($blocks[at($block)]);
    my ($tx) = grep { $_->{txid} eq $txid } @{ $b->{txs} };
    return $tx ? unpack 'H*', $tx->{raw} : die "-5 No such transaction\n";
}

sub answer {
    my ($q) = @_;
    my $f = $call{ $q->{method} };
    my @p = ref $q->{params} eq 'ARRAY' ? @{ $q->{params} } : ();
    my $r = eval { [$f ? $f->(@p) : die "-32601 Method not found\n"] };
    return { id => $q->{id}, result => $r->[0], error => undef } if $r;
    my ($code, $text) = $@ =~ /^(-\d+) (.*)/ ? ($1, $2) : (-1, "$@");
    return { id => $q->{id}, result => undef,
        error => { code => 0 + $code, message => $text } };
}

sub request {
    my ($c) = @_;
    my ($line, $len) = (scalar <$c>, 0);
    return if !defined $line;
    while (defined(my $h = <$c>)) {
        last if $h =~ /^\r?$/;
        $len = $1 if $h =~ /^content-length:\s*(\d+)/i;
    }
    my ($status, $body) = ('404 Not Found', '');
    if ($line =~ /^POST/) {
        read($c, my $text, $len) == $len or return;
        load();
        my $q = $JSON->decode($text);
        $body = $JSON->encode(ref $q eq 'ARRAY' ? [map { answer($_) } @$q]
            : answer($q));
        $status = '200 OK';
    } elsif ($line =~ m{^GET /rest/block/(\w{64})\.bin }) {
        load();
        ($status, $body) = ('200 OK', $blocks[ $height{$1} ])
            if defined $height{$1};
    }
    print {$c} "HTTP/1.1 $status\r\nContent-Type: application/json\r\n"
        . 'Content-Length: ' . length($body) . "\r\n\r\n$body" or return;
    return $c->flush;
}
