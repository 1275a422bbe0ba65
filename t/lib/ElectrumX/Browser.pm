package ElectrumX::Browser;

# Headless Chromium, and the place where its pages (or other programs) report.
#
#   my $b = ElectrumX::Browser->new($t);      # listens for reports
#   $b->url;                   # where they are posted to, as JSON
#   $b->open('page.html', $job);    # below static/, with #JSON of the job
#   my $r = $b->next_report($seconds);   # the next one, decoded; dies if late

use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use JSON::PP ();
use Test::More ();
use Time::HiRes qw(time);

sub new {
    my ($class, $t) = @_;
    my $port = $t->port('report');
    my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.1',
        LocalPort => $port, Listen => 20, ReuseAddr => 1)
        or die "listen: $!";
    return bless { t => $t, listener => $listener,
        url => "http://127.0.0.1:$port/" }, $class;
}

sub url { $_[0]{url} }

sub open {
    my ($self, $page, $job) = @_;
    my $t = $self->{t};
    my $json = JSON::PP->new->canonical->encode($job);
    $json =~ s/([^A-Za-z0-9])/sprintf '%%%02X', ord $1/ge;
    my $url = 'http://127.0.0.1:' . $t->port('ws') . "/static/$page";
    mkdir $t->path('home');
    $t->start('chromium', env => { HOME => $t->path('home'),
        TMPDIR => $t->dir,
        XDG_CONFIG_HOME => $t->path('home'), DBUS_SESSION_BUS_ADDRESS => '' },
        cmd => [qw(chromium --headless --no-sandbox --disable-gpu
            --disable-quic --no-first-run --disable-background-networking
            --disable-component-update --disable-sync --disable-extensions
            --disable-dev-shm-usage --disable-breakpad --no-proxy-server
            --ignore-certificate-errors --remote-debugging-port=0),
            '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
            '--user-data-dir=' . $t->path('profile'), "$url#$json"]);
}

sub next_report {
    my ($self, $seconds) = @_;
    my $end = time + $seconds;
    my $chromium = $self->{t}->proc('chromium');
    while (time < $end) {
        die "chromium ended\n" if $chromium && !$chromium->running;
        IO::Select->new($self->{listener})->can_read(0.2) or next;
        my $body = _read_post($self->{listener}->accept) // next;
        return JSON::PP->new->utf8->decode($body);
    }
    Test::More::diag($self->{t}->tail("$_.log", 5)) for qw(chromium clients);
    die "no report came\n";
}

sub _read_post {
    my ($c) = @_;
    my $in = '';
    my $end = time + 5;
    while (time < $end) {
        my ($head, $body) = split /\r\n\r\n/, $in, 2;
        my ($n) = ($head // '') =~ /^Content-Length: (\d+)/mi;
        if (defined $body && length $body >= ($n // 0)) {
            print {$c} "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            return $n ? $body : undef;
        }
        sysread $c, $in, 65536, length $in or return undef;
    }
    return undef;
}

1;
