#!/usr/bin/perl

# Recorded dialogues on a chain that is always the same: what the server
# answers is compared byte for byte with t/data/golden, for each version of the
# protocol. Lines of these files:
#
#   # ...     a remark
#   > TEXT    the client sends it
#   < TEXT    the server sends it; <*> stands for any text (the version of the
#             server, words of the node)
#   ! WORDS   something happens: "mine NAME ...", "send NAME", see FixedChain.pm
#
# GOLDEN_RECORD=1 writes the answers of the server in place of those in the
# files; look at the difference before it is committed.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Compare;
use ElectrumX::FixedChain;
use ElectrumX::Model;

my $t = ElectrumX::Test->new(needs => [qw(nginx indexer bitcoind openssl)]);
my $chain = ElectrumX::FixedChain->new($t);
$chain->build;
my $node = $chain->{node};
$t->start_indexer($node->indexer_conf, live_window => 20);
$t->wait_ready($node->height, 60);
$t->start_nginx;
my $model = ElectrumX::Model->new($node);
my $first = $model->picture;
ElectrumX::Compare::wait_same($t, $t->client('tcp'), $first, 20);

is($node->hash_at(110),
    '7b7969bcee5797b80763e05a53996af3ac274e82d4abaf88613363338abdd6c6',
    'the chain is the one of the recordings');
subtest 'the recordings are of what the model says' => sub {
    my $c = $t->client('tcp');
    $c->version('1.6');
    my $cmp = ElectrumX::Compare->new(picture => $first, client => $c,
        version => '1.6');
    $cmp->all;
    $cmp->ok('all answers');
};

# Those in which something happens come last.
my @files = map { $_->[1] } sort { $a->[0] <=> $b->[0] || $a->[1] cmp $b->[1] }
    map { [$t->read_file($_) =~ /^!/m ? 1 : 0, $_] }
    glob "$ElectrumX::Test::ROOT/t/data/golden/*.txt";
for my $file (@files) {
    my $name = File::Basename::basename($file);
    if ($ENV{GOLDEN_RECORD}) {
        record($file);
        diag("recorded: $name");
        next;
    }
    my $text = $t->read_file($file);
    subtest "$name over $_" => \&replay, $_, $text
        for $text =~ /^!/m ? 'tcp' : qw(tcp ws);
}
cmp_ok(scalar @files, '>=', 6, 'recordings');
$t->done;

sub happens {
    my ($what, @names) = @_;
    $what eq 'mine' ? $chain->mine(@names) : $chain->send(@names);
}

# A line of a file as a pattern.
sub pattern {
    my ($line) = @_;
    my $p = join '.*?', map {quotemeta} split /<\*>/, $line, -1;
    return qr/\A$p\z/s;
}

sub replay {
    my ($transport, $text) = @_;
    my $c = $t->client($transport);
    my $asked = '';
    my $n = 0;
    for my $line (split /\n/, $text) {
        $n++;
        next if $line =~ /^#/;
        my ($mark, $rest) = $line =~ /^([<>!]) (.*)/s or die "line $n: $line";
        if ($mark eq '!') {
            happens(split ' ', $rest);
            $asked = $rest;
        }
        elsif ($mark eq '>') {
            $c->send_text($rest);
            $asked = $rest;
        }
        else {
            my $got = $c->read_text // 'nothing';
            like($got, pattern($rest), "line $n: " . substr $asked, 0, 60);
        }
    }
    ok($c->no_notification('blockchain.headers.subscribe', 0),
        'nothing more');
}

# Asks what the file asks; notifications are as many as there were.
sub record {
    my ($file) = @_;
    my $c = $t->client('tcp');
    my @out;
    for my $line (split /\n/, $t->read_file($file)) {
        my ($mark, $rest) = $line =~ /^([<>!]) (.*)/s;
        if (!defined $mark || $mark ne '<') {
            push @out, $line;
        }
        if (($mark // '') eq '>') {
            $c->send_text($rest);
        }
        elsif (($mark // '') eq '!') {
            happens(split ' ', $rest);
        }
        elsif (($mark // '') eq '<') {
            my $got = $c->read_text // die "$file: no answer\n";
            push @out, '< ' . ($got =~ pattern($rest) ? $rest
                : $got =~ s/(ElectrumX-nginx )\d+\.\d+\.\d+/$1<*>/gr);
        }
    }
    open my $fh, '>', $file or die "$file: $!";
    print {$fh} map {"$_\n"} @out;
    close $fh or die "$file: $!";
}
