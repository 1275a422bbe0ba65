package ElectrumX::Client;

# Electrum client for tests: TCP, TLS, WebSocket, WebSocket over TLS.  Every
# call has a deadline; nothing blocks for ever.
#
#   my $c = ElectrumX::Client->connect(transport => 'tcp', port => 50001,
#       host => '127.0.0.1', timeout => 30, path => '/', origin => ...,
#       from => '127.0.0.2', protocol => ..., proxy_header => "PROXY TCP4 ...\r\n", sndbuf/rcvbuf);
#   $c->version('1.6');                   # server.version, returns result
#   my $result = $c->call($method, @params);      # dies with an error hash
#   my $answer = $c->request($method, @params);   # { id, result | error }
#   my $error  = $c->error_of($method, @params);  # the error hash, or undef
#   my @answers = $c->pipeline([$method, @params], ...);   # in order of call
#   my $answers = $c->batch([$method, @params], ...);      # in order of call
#   my $ids = $c->send_batch(...); $c->batch_answers($ids);       # in two steps
#   my $id = $c->send_request($method, \@params); $c->answer($id);
#
#   my $n = $c->notification($method, $timeout, $filter);  # next one, or die
#   my @n = $c->notifications;            # all queued so far (drained)
#   $c->no_notification($method, $seconds);        # true if none came
#   $c->pump($seconds);                   # read what comes for that long
#
#   $c->send_text($json);                 # a message in the transport's frame
#   $c->send_raw($bytes);                 # bytes as they are
#   $c->send_split($bytes, 1, 3, 2);      # writes of these sizes, then rest
#   $c->read_message($timeout);           # next message (decoded), undef=end
#   $c->read_text($timeout);              # next message as text
#   $c->read_raw($timeout);               # whatever bytes come next
#   $c->closed($timeout);                 # true if the server closed
#   $c->close; $c->{close_code}           # WebSocket close code received (and
#                        # answered, but for connect(silent_close => 1))
#
# Messages that are read while waiting for something else are kept.

use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use Socket qw(IPPROTO_TCP TCP_NODELAY SOL_SOCKET SO_RCVBUF);
use Time::HiRes qw(sleep time);
use ElectrumX::WebSocket;

our $JSON = JSON::PP->new->utf8->canonical->allow_nonref;

sub connect {
    my ($class, %o) = @_;
    my $self = bless {
        host => '127.0.0.1', transport => 'tcp', timeout => 30, path => '/',
        id => 0, in => '', answers => {}, queue => [], raw => [], %o,
    }, $class;
    $self->{ws} = ElectrumX::WebSocket->new(path => $self->{path},
        host => "localhost:$o{port}") if $self->{transport} =~ /^ws/;
    $self->_open;
    $self->_upgrade if $self->{ws} && !$self->{no_upgrade};
    return $self;
}

sub _open {
    my ($self) = @_;
    my $s = IO::Socket::INET->new(PeerAddr => $self->{host},
        PeerPort => $self->{port}, Proto => 'tcp',
        Timeout => $self->{timeout},
        $self->{from} ? (LocalAddr => $self->{from}) : ())
        or die "connect $self->{transport} $self->{port}: $!\n";
    setsockopt $s, IPPROTO_TCP, TCP_NODELAY, 1;
    setsockopt $s, SOL_SOCKET, SO_RCVBUF, $self->{rcvbuf}
        if $self->{rcvbuf};
    $self->{sock} = $s;
    syswrite $s, $self->{proxy_header} if defined $self->{proxy_header};
    $self->_start_tls if $self->{transport} =~ /^(?:tls|wss)$/;
    $self->{sock}->blocking(0);
}

sub _start_tls {
    my ($self) = @_;
    require IO::Socket::SSL;
    $self->{sock} = IO::Socket::SSL->start_SSL($self->{sock},
        Timeout => $self->{timeout}, SSL_verify_mode => 0,
        %{ $self->{tls} || {} })
        or die "TLS: " . IO::Socket::SSL::errstr() . "\n";
}

sub _upgrade {
    my ($self) = @_;
    $self->send_raw($self->{ws}->handshake(map { $_ => $self->{$_} }
        grep { defined $self->{$_} } qw(origin protocol headers)));
    my $end = time + $self->{timeout};
    while ($self->{in} !~ /\r\n\r\n/) {
        $self->_fill($end - time) or die "websocket: no answer\n";
    }
    my $at = index($self->{in}, "\r\n\r\n") + 4;
    $self->{ws}->check_handshake(substr $self->{in}, 0, $at, '');
    $self->{ws}->feed($self->{in});
    $self->{in} = '';
}

# ---- bytes ------------------------------------------------------------------

# Writes all bytes; reads meanwhile, so that two full buffers never lock.
sub send_raw {
    my ($self, $bytes) = @_;
    my $end = time + $self->{timeout};
    while (length $bytes) {
        my $n = syswrite $self->{sock}, $bytes;
        if (defined $n) {
            substr $bytes, 0, $n, '';
            next;
        }
        die "write: $!\n" if !$self->_again;
        die "write: timeout\n" if time > $end;
        $self->_wait_io(0.2);
        $self->_receive;
    }
    return 1;
}

sub _again {
    my ($self) = @_;
    return 1 if $!{EAGAIN} || $!{EINTR} || $!{EWOULDBLOCK};
    return 0 if !$self->{sock}->isa('IO::Socket::SSL');
    no warnings 'once';
    return $IO::Socket::SSL::SSL_ERROR == IO::Socket::SSL::SSL_WANT_READ()
        || $IO::Socket::SSL::SSL_ERROR == IO::Socket::SSL::SSL_WANT_WRITE();
}

sub _wait_io {
    my ($self, $timeout) = @_;
    my $r = '';
    vec($r, fileno $self->{sock}, 1) = 1;
    select $r, my $w = $r, undef, $timeout;
}

# Reads what is there now: number of bytes, 0 at end, undef if nothing.
sub _receive {
    my ($self) = @_;
    return 0 if $self->{eof};
    my $total;
    while (1) {
        my $n = sysread $self->{sock}, my $buf, 65536;
        last if !defined $n && $self->_again;
        if (!$n) {
            $self->{eof} = 1;
            return $total // 0;
        }
        $total += $n;
        $self->{bytes_in} += $n;
        if ($self->{ws} && $self->{ws}{headers}) {
            $self->{ws}->feed($buf);
        }
        else {
            $self->{in} .= $buf;
        }
        last if $total > 1 << 20;
    }
    return $total;
}

# Waits for bytes: true if some came, 0 at end of stream, undef on timeout.
sub _fill {
    my ($self, $timeout) = @_;
    my $end = time + $timeout;
    while (1) {
        my $n = $self->_receive;
        return $n if defined $n;
        my $left = $end - time;
        return undef if $left <= 0;
        my $r = '';
        vec($r, fileno $self->{sock}, 1) = 1;
        select $r, undef, undef, $left;
    }
}

sub send_split {
    my ($self, $bytes, @sizes) = @_;
    for my $size (@sizes) {
        last if !length $bytes;
        $self->send_raw(substr $bytes, 0, $size, '');
        sleep($self->{split_pause} // 0.005);
    }
    $self->send_raw($bytes) if length $bytes;
}

sub read_raw {
    my ($self, $timeout) = @_;
    $self->_fill($timeout // $self->{timeout}) if !length $self->{in};
    my $bytes = $self->{in};
    $self->{in} = '';
    return $bytes;
}

# ---- messages ---------------------------------------------------------------

# The bytes that carry one message on this transport.
sub framed {
    my ($self, $text) = @_;
    return $self->{ws} ? $self->{ws}->frame('text', $text) : "$text\n";
}

sub send_text { my ($self, $text) = @_; $self->send_raw($self->framed($text)) }

# Next message as text; undef at the end of the stream or when time is over
# ($c->{timed_out} tells which).
sub read_text {
    my ($self, $timeout) = @_;
    my $end = time + ($timeout // $self->{timeout});
    $self->{timed_out} = 0;
    while (1) {
        my $text = $self->{ws} ? $self->_ws_text : $self->_line;
        return $text if defined $text;
        my $left = $end - time;
        my $n = $self->_fill($left > 0 ? $left : 0);
        next if $n;
        $self->{timed_out} = 1 if !defined $n;
        return undef;
    }
}

sub _line {
    my ($self) = @_;
    my $from = $self->{scanned} // 0;
    my $at = index $self->{in}, "\n", $from;
    if ($at < 0) {
        $self->{scanned} = length $self->{in};
        return undef;
    }
    $self->{scanned} = 0;
    my $line = substr $self->{in}, 0, $at + 1, '';
    chop $line;
    return $line;
}

sub _ws_text {
    my ($self) = @_;
    while (my $m = $self->{ws}->next_message) {
        if ($m->{op} == 1 || $m->{op} == 2) {
            die "newline in a WebSocket message\n"
                if $m->{payload} =~ /\n\z/;
            return $m->{payload};
        }
        push @{ $self->{control} }, $m;
        if ($m->{op} == 9) {
            $self->send_raw($self->{ws}->frame('pong', $m->{payload}));
        }
        elsif ($m->{op} == 8) {
            $self->{close_code} = length $m->{payload} >= 2
                ? unpack 'n', $m->{payload} : 1005;
            eval { $self->send_raw($self->{ws}->frame('close',
                substr $m->{payload}, 0, 2)) } if !$self->{silent_close};
        }
    }
    return undef;
}

sub decode { return $JSON->decode($_[1]) }
sub encode { return $JSON->encode($_[1]) }

sub read_message {
    my ($self, $timeout) = @_;
    my $text = $self->read_text($timeout) // return undef;
    my $m = eval { $JSON->decode($text) };
    die "not JSON: " . substr($text, 0, 200) . "\n" if !defined $m;
    return $m;
}

# Reads one message and files it; false at the end or on timeout.
sub _take {
    my ($self, $timeout) = @_;
    my $m = $self->read_message($timeout) // return 0;
    if (ref $m eq 'ARRAY') {
        push @{ $self->{batches} }, $m;
    }
    elsif (exists $m->{method}) {
        push @{ $self->{queue} }, $m;
    }
    elsif (defined $m->{id}) {
        $self->{answers}{ $m->{id} } = $m;
    }
    else {
        push @{ $self->{nameless} }, $m;
    }
    return 1;
}

# ---- requests ---------------------------------------------------------------

sub make_request {
    my ($self, $method, $params) = @_;
    return { jsonrpc => '2.0', id => ++$self->{id}, method => $method,
        params => $params || [] };
}

sub send_request {
    my ($self, $method, $params) = @_;
    my $r = $self->make_request($method, $params);
    $self->send_text($JSON->encode($r));
    return $r->{id};
}

sub answer {
    my ($self, $id, $timeout) = @_;
    my $end = time + ($timeout // $self->{timeout});
    while (!exists $self->{answers}{$id}) {
        my $left = $end - time;
        $self->_take($left > 0 ? $left : 0) and next;
        die { message => $self->{timed_out}
            ? "no answer to request $id" : 'connection closed',
            closed => !$self->{timed_out} };
    }
    return delete $self->{answers}{$id};
}

sub request {
    my ($self, $method, @params) = @_;
    return $self->answer($self->send_request($method, \@params));
}

sub call {
    my ($self, $method, @params) = @_;
    my $a = $self->request($method, @params);
    die $a->{error} if $a->{error};
    return $a->{result};
}

sub error_of {
    my ($self, $method, @params) = @_;
    return $self->request($method, @params)->{error};
}

# All requests in as few writes as possible, answers in order of the calls.
sub pipeline {
    my ($self, @calls) = @_;
    my (@ids, $bytes);
    for (@calls) {
        my ($method, @params) = @$_;
        my $r = $self->make_request($method, \@params);
        push @ids, $r->{id};
        $bytes .= $self->framed($JSON->encode($r));
    }
    $self->send_raw($bytes);
    return map { $self->answer($_) } @ids;
}

# One JSON-RPC batch; a reference to the answers in order of the calls.
sub batch {
    my ($self, @calls) = @_;
    return $self->batch_answers($self->send_batch(@calls));
}

sub send_batch {
    my ($self, @calls) = @_;
    my @all = map { my ($m, @p) = @$_; $self->make_request($m, \@p) } @calls;
    $self->send_text($JSON->encode(\@all));
    return [map { $_->{id} } @all];
}

sub batch_answers {
    my ($self, $ids) = @_;
    my $end = time + $self->{timeout};
    until (@{ $self->{batches} || [] }) {
        $self->_take($end - time) or die "no answer to the batch\n";
    }
    my %by_id = map { $_->{id} => $_ } @{ shift @{ $self->{batches} } };
    return [map { $by_id{$_} } @$ids];
}

sub version {
    my ($self, $version) = @_;
    return $self->call('server.version', 'electrumx tests', $version);
}

# ---- notifications ----------------------------------------------------------

sub notification {
    my ($self, $method, $timeout, $filter) = @_;
    my $end = time + ($timeout // $self->{timeout});
    while (1) {
        my $queue = $self->{queue};
        for my $i (0 .. $#$queue) {
            next if $queue->[$i]{method} ne $method;
            next if $filter && !$filter->($queue->[$i]{params});
            return (splice @$queue, $i, 1)->{params};
        }
        my $left = $end - time;
        $self->_take($left > 0 ? $left : 0)
            or die "no notification $method\n";
    }
}

sub notifications {
    my ($self) = @_;
    1 while $self->_take(0);
    my @all = @{ $self->{queue} };
    $self->{queue} = [];
    return @all;
}

sub pump {
    my ($self, $seconds) = @_;
    my $end = time + $seconds;
    while ((my $left = $end - time) > 0) {
        $self->_take($left) || last;
    }
}

sub no_notification {
    my ($self, $method, $seconds) = @_;
    $self->pump($seconds);
    return !grep { $_->{method} eq $method } @{ $self->{queue} };
}

# ---- end --------------------------------------------------------------------

# True if the server closes within the time (messages before it are kept).
sub closed {
    my ($self, $timeout) = @_;
    my $end = time + ($timeout // $self->{timeout});
    while (!$self->{eof}) {
        my $left = $end - time;
        return 0 if $left <= 0;
        $self->_take($left);
    }
    return 1;
}

sub close {
    my ($self) = @_;
    my $s = delete $self->{sock} or return;
    $s->isa('IO::Socket::SSL')
        ? $s->close(SSL_no_shutdown => 0) : CORE::close($s);
}

# Ends the connection with a TCP reset.
sub abort {
    my ($self) = @_;
    my $s = delete $self->{sock} or return;
    setsockopt $s, SOL_SOCKET, Socket::SO_LINGER(), pack 'ii', 1, 0;
    $s->isa('IO::Socket::SSL')
        ? $s->close(SSL_no_shutdown => 1) : CORE::close($s);
}

1;
