package ElectrumX::WebSocket;

# Client side of RFC 6455 on a byte stream: handshake, frames, messages.
# Knows no socket: the caller sends what it returns and feeds what arrives, so
# that a test can split and merge the bytes as it likes, or break the rules.
#
#   my $ws = ElectrumX::WebSocket->new(host => 'localhost', path => '/');
#   my $bytes = $ws->handshake(origin => '...', protocol => '...');
#   my $rest = $ws->check_handshake($head);       # dies if it is not right
#   my $bytes = $ws->frame($opcode, $payload, fin => 1, mask => 1, rsv => 0,
#       length_form => 16|64);                    # one frame, legal or not
#   $ws->feed($bytes);
#   my $f = $ws->next_frame;      # { fin, rsv, op, mask, payload } or undef
#   my $m = $ws->next_message;    # { op, payload }: data joined; control
#                                 # frames (close, ping, pong) as they come

use strict;
use warnings;
use Digest::SHA ();
use MIME::Base64 ();

our %OP = (cont => 0, text => 1, binary => 2, close => 8, ping => 9,
    pong => 10);

sub new {
    my ($class, %o) = @_;
    my $key = join '', map { chr int rand 256 } 1 .. 16;
    return bless {
        host => 'localhost', path => '/', in => '', part => undef, %o,
        key => MIME::Base64::encode_base64($key, ''),
    }, $class;
}

sub handshake {
    my ($self, %o) = @_;
    my @lines = (
        "GET $self->{path} HTTP/1.1", "Host: $self->{host}",
        'Upgrade: websocket', 'Connection: Upgrade',
        "Sec-WebSocket-Key: $self->{key}", 'Sec-WebSocket-Version: 13');
    push @lines, "Origin: $o{origin}" if defined $o{origin};
    push @lines, "Sec-WebSocket-Protocol: $o{protocol}" if $o{protocol};
    push @lines, @{ $o{headers} || [] };
    return join("\r\n", @lines) . "\r\n\r\n";
}

# $head is the answer up to and including the empty line.
sub check_handshake {
    my ($self, $head) = @_;
    my ($status, @lines) = split /\r\n/, $head;
    die "websocket refused: $status\n" if $status !~ m{^HTTP/1\.1 101 };
    my %h = map { /^([^:]+):\s*(.*?)\s*$/ ? (lc $1 => $2) : () } @lines;
    die "no Upgrade\n" if lc($h{upgrade} // '') ne 'websocket';
    die "no Connection\n" if ($h{connection} // '') !~ /upgrade/i;
    my $accept = Digest::SHA::sha1_base64(
        $self->{key} . '258EAFA5-E914-47DA-95CA-C5AB0DC85B11') . '=';
    die "wrong accept\n" if ($h{'sec-websocket-accept'} // '') ne $accept;
    $self->{headers} = \%h;
    return 1;
}

sub frame {
    my ($self, $op, $payload, %o) = @_;
    $op = $OP{$op} if exists $OP{$op};
    my $n = $o{length} // length $payload;
    my $mask = $o{mask} // 1;
    my $form = $o{length_form} // ($n < 126 ? 7 : $n < 65536 ? 16 : 64);
    my $b0 = ($o{fin} // 1) << 7 | ($o{rsv} // 0) << 4 | $op;
    my $b1 = ($mask ? 0x80 : 0)
        | ($form == 7 ? $n : $form == 16 ? 126 : 127);
    my $head = pack 'CC', $b0, $b1;
    $head .= pack 'n', $n if $form == 16;
    $head .= pack 'Q>', $n if $form == 64;
    return $head . $payload if !$mask;
    my $key = pack 'N', int rand 4294967296;
    return $head . $key . _xor($payload, $key);
}

sub _xor {
    my ($data, $key) = @_;
    my $n = length $data;
    return $data ^ substr $key x (int($n / 4) + 1), 0, $n;
}

# Several frames for one message, cut at the given sizes.
sub fragments {
    my ($self, $op, $payload, @sizes) = @_;
    my ($out, $first) = ('', 1);
    for my $size (@sizes) {
        $out .= $self->frame($first ? $op : 'cont',
            substr($payload, 0, $size, ''), fin => 0);
        $first = 0;
    }
    return $out . $self->frame($first ? $op : 'cont', $payload);
}

sub feed { $_[0]{in} .= $_[1] }

sub next_frame {
    my ($self) = @_;
    my $have = length $self->{in};
    return undef if $have < 2;
    my ($b0, $b1) = unpack 'CC', $self->{in};
    my ($len, $at) = ($b1 & 0x7f, 2);
    if ($len == 126) {
        return undef if $have < 4;
        ($len, $at) = (unpack('x2 n', $self->{in}), 4);
    }
    elsif ($len == 127) {
        return undef if $have < 10;
        ($len, $at) = (unpack('x2 Q>', $self->{in}), 10);
    }
    my $mask = $b1 & 0x80;
    $at += 4 if $mask;
    return undef if $have < $at + $len;
    my $payload = substr $self->{in}, $at, $len;
    $payload = _xor($payload, substr $self->{in}, $at - 4, 4) if $mask;
    substr $self->{in}, 0, $at + $len, '';
    return { fin => $b0 >> 7, rsv => $b0 >> 4 & 7, op => $b0 & 15,
        mask => $mask ? 1 : 0, payload => $payload };
}

sub next_message {
    my ($self) = @_;
    while (my $f = $self->next_frame) {
        $self->_check($f);
        return { op => $f->{op}, payload => $f->{payload} } if $f->{op} >= 8;
        if ($f->{op} == 0) {
            $self->{part}{payload} .= $f->{payload};
        }
        else {
            $self->{part} = { op => $f->{op}, payload => $f->{payload} };
        }
        next if !$f->{fin};
        my $m = $self->{part};
        $self->{part} = undef;
        return $m;
    }
    return undef;
}

# What a server must never send.
sub _check {
    my ($self, $f) = @_;
    die "server sent a masked frame\n" if $f->{mask};
    die "server set reserved bits\n" if $f->{rsv};
    die "server sent opcode $f->{op}\n" if $f->{op} !~ /^(?:[0-2]|8|9|10)$/;
    die "continuation of nothing\n" if $f->{op} == 0 && !$self->{part};
    die "new message inside another\n"
        if $f->{op} =~ /^[12]$/ && $self->{part};
    die "bad control frame\n"
        if $f->{op} >= 8 && (!$f->{fin} || length $f->{payload} > 125);
}

1;
