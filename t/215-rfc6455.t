#!/usr/bin/perl

# RFC 6455 over a real nginx, in the manner of the Autobahn test suite: its
# cases 1 to 7 and 10 by their numbers. This server echoes nothing, so a message
# is a request, and what is looked for is its answer; t/data/rfc6455.pl says
# for each case what is sent and what must be seen.

use lib 't/lib';
use ElectrumX::Test;
use JSON::PP ();
use Time::HiRes qw(time);

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer openssl tls)]);

# No node and no index: server.ping is answered by nginx alone.
$t->start_indexer(daemon_url => 'http://127.0.0.1:' . $t->port('none'));
$t->start_nginx(electrumx => 'max_request 300000;');

my %OP = map { $_ => 1 } qw(text binary cont close ping pong);
my $cases = table();
for my $transport (qw(ws wss)) {
    try($transport, @$_)
        for grep { $transport eq 'ws' || $_->[0] !~ /^6/ } @$cases;
}
cmp_ok(scalar @$cases, '>', 250, 'cases');
$t->done;

sub table {
    my $code = $t->read_file(
        "$ElectrumX::Test::ROOT/t/data/rfc6455.pl");
    my $list = eval "sub { $code }" or die $@;
    return $list->(\&request);
}

# A request of that many bytes.
sub request {
    my ($id, $length) = @_;
    my $text = qq({"id":$id,"method":"server.ping"});
    return $text . ' ' x (($length // 0) > length $text
        ? $length - length $text : 0);
}

# One frame: its payload under the name of its opcode, or op and payload; fin,
# rsv, mask, length (that it claims to have), form (bits of the length).
sub frame {
    my ($ws, $f) = @_;
    my ($op) = grep { $OP{$_} } keys %$f;
    my %o = map { $_ => $f->{$_} } grep { exists $f->{$_} }
        qw(fin rsv mask length);
    $o{length_form} = $f->{form} if $f->{form};
    return $ws->frame($op // $f->{op}, $op ? $f->{$op} : $f->{payload}, %o);
}

sub try {
    my ($transport, $number, $want, @send) = @_;
    my $c = $t->client($transport);
    my $cut = ref $send[0] ? '' : shift @send;
    my @frames = map { frame($c->{ws}, $_) } @send;
    my $open = !@$want || $want->[-1] !~ /^\d+$/;
    eval {
        $c->{split_pause} = 0.0002;
        my @pieces = $cut eq 'frames' ? @frames : join '', @frames;
        for my $p (@pieces) {
            $c->send_split($p, $cut eq 'octets' ? (1) x length $p
                : $cut =~ /^\d/ ? ($cut) x (length($p) / $cut) : ());
        }
        # The end: all that comes before its pong belongs to the case.
        $c->send_raw($c->{ws}->frame('ping', 'the end')) if $open;
        1;
    } or $@ =~ /^write/ or die $@;    # closed at an early byte
    my @seen = watch($c, $open);
    is(show(@seen), show(@$want), "$number $transport: "
        . show(@$want, $open ? 'goes on' : ()));
}

sub show { return join ', ', map { s/([^ -~])/sprintf '\\x%02x', ord $1/ger }
    map { length > 60 ? substr($_, 0, 57) . '...' : $_ } @_ }

# What the server sends, up to its end or the last pong.
sub watch {
    my ($c, $open) = @_;
    my @seen;
    my $end = time + 10;
    while (time < $end) {
        while (my $f = $c->{ws}->next_frame) {
            $c->{ws}->_check($f);
            push @seen, event($f);
            return @seen[0 .. $#seen - 1] if $open && $seen[-1] eq 'p the end';
            eval { $c->send_raw($c->{ws}->frame('close', $f->{payload})) }
                if $f->{op} == 8 && !$c->{eof} && !$c->{polite}++;
        }
        my $n = $c->_fill($end - time);
        return @seen if defined $n && !$n;    # the end of the stream
    }
    return (@seen, 'not closed');
}

sub event {
    my ($f) = @_;
    return 'p ' . $f->{payload} if $f->{op} == 10;
    return length $f->{payload} >= 2 ? unpack 'n', $f->{payload} : 1005
        if $f->{op} == 8;
    return "opcode $f->{op}" if $f->{op} != 1;
    my ($code) = $f->{payload} =~ /"error":\{"code":(-?\d+)/;
    return "e $code" if defined $code;
    my ($id) = $f->{payload} =~ /\A\{"jsonrpc":"2.0","result":null,"id":(.*)\}\z/s;
    return 'a ' . ($id // "? $f->{payload}");
}
