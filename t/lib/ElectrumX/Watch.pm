package ElectrumX::Watch;

# A client that subscribes to headers and scripts and keeps what it was told.
#
#   my $w = ElectrumX::Watch->new($client, $picture, @scripthashes);
#       # subscribes; dies if a first status is not the picture's
#   $w->until($t, $picture, $seconds, 'what');
#       # reads notifications until all statuses and the tip are the picture's
#   my %n = $w->told;       # scripthash -> number of notifications since then
#   $w->{tips}              # headers told since, oldest first
#   $w->{order}             # 'header' and scripthashes in order of arrival
#   $w->{repeated}          # notifications that told nothing new
#   $w->forget;             # begins to count anew

use strict;
use warnings;
use Time::HiRes qw(sleep time);

my $HEADERS = 'blockchain.headers.subscribe';
my $SCRIPT = 'blockchain.scripthash.subscribe';

sub new {
    my ($class, $client, $p, @sh) = @_;
    my $self = bless { client => $client, status => {}, sh => \@sh }, $class;
    $self->{tip} = $client->call($HEADERS);
    for my $sh (@sh) {
        my $status = $client->call($SCRIPT, $sh);
        die "first status of $sh differs\n"
            if ($status // '') ne ($p->status($sh) // '');
        $self->{status}{$sh} = $status;
    }
    $self->forget;
    return $self;
}

sub forget {
    my ($self) = @_;
    @$self{qw(count tips order repeated)} = ({}, [], [], []);
}

sub told { return %{ $_[0]{count} } }

# Takes in what has arrived.
sub read {
    my ($self, $seconds) = @_;
    $self->{client}->pump($seconds) if $seconds;
    for my $n ($self->{client}->notifications) {
        my @params = @{ $n->{params} };
        if ($n->{method} eq $HEADERS) {
            $self->_header($params[0]);
        }
        elsif ($n->{method} eq $SCRIPT) {
            $self->_script(@params);
        }
        else {
            push @{ $self->{repeated} }, $n->{method};
        }
    }
}

sub _header {
    my ($self, $header) = @_;
    push @{ $self->{order} }, 'header';
    push @{ $self->{tips} }, $header;
    push @{ $self->{repeated} }, "header $header->{height}"
        if $header->{hex} eq $self->{tip}{hex};
    $self->{tip} = $header;
}

sub _script {
    my ($self, $sh, $status) = @_;
    push @{ $self->{order} }, $sh;
    $self->{count}{$sh}++;
    push @{ $self->{repeated} }, $sh
        if ($status // '') eq ($self->{status}{$sh} // '');
    $self->{status}{$sh} = $status;
}

# Scripts whose last told status is not the picture's.
sub differing {
    my ($self, $p) = @_;
    return grep { ($self->{status}{$_} // '') ne ($p->status($_) // '') }
        @{ $self->{sh} };
}

sub until {
    my ($self, $t, $p, $seconds, $what) = @_;
    my $tip = $p->header($p->{height});
    my $end = time + $seconds;
    while (1) {
        $self->read(0.02);
        my @bad = $self->differing($p);
        return 1 if !@bad && $self->{tip}{hex} eq $tip;
        next if time < $end;
        my $told = $self->{tip}{hex} eq $tip ? 'told' : 'not told';
        Test::More::diag("$what: tip $told, " . @bad
            . " scripts differ: @bad[0 .. ($#bad > 2 ? 2 : $#bad)]");
        return 0;
    }
}

1;
