#!/usr/bin/perl

# electrumx-indexer check: an undamaged index passes, however it was made; each
# kind of damage is found and named; --repair makes it whole, and what the indexer
# then serves is what it was.

use lib 't/lib';
use ElectrumX::Test;
use ElectrumX::Scenario;
use File::Copy qw(copy);
use File::Path qw(remove_tree);

my $t = ElectrumX::Test->new(needs => [qw(indexer bitcoind)]);
my $s = ElectrumX::Scenario->new($t, free_only => 1);
my $node = $s->{node};
my $program = $t->build . '/electrumx-indexer';

my %conf = ($node->indexer_conf, live_window => 10, spender => 'on',
    keep_generations => 2);

# Batches of several sizes give the same content.
$s->base;
my $height = $node->height;
my $good = index_of('good', settle_batch => 10, block_source => 'rpc');
my $tidied = index_of('tidied', settle_batch => 3);
$t->start_indexer(%conf, settle_batch => 3, data_dir => $tidied);
$s->grow(30);
$s->heavy(1300);
$s->grow(60);
$node->generate(20);
$height = $node->height;
settled_while_following();
index_of('good', settle_batch => 10, block_source => 'rpc');
my $digest = digest($good);
like($digest, qr/^history +[0-9a-f]{32} [1-9]/m, 'a digest');
is(digest(index_of('one', settle_batch => 1000, block_source => 'rest')),
    $digest, 'one batch: the same content');
is(digest($tidied), $digest, 'tidied meanwhile: the same content');
is((check($good))[0], 0, 'the fast level finds nothing');
like((check($good))[1], qr/nothing is wrong/, '... and says so');

# While an indexer runs.
$t->start_indexer(%conf, data_dir => $good);
$t->wait_ready($height, 60);
is((check($good, '--full'))[0], 0, 'beside a running indexer');
my ($rc, $out) = check($good, '--repair');
is($rc, 1, 'a repair beside it is refused');
like($out, qr/in use by another indexer/, '... with the reason');
$t->stop_indexer;

my ($gen) = reverse sort glob "$good/generations/*";
my $epoch = "$good/settled/" . ($t->read_file("$good/settled/CURRENT") =~ s/\s//r);

# What is damaged (in a copy), what the check says, and what is done about it.
my @damages = (
    ['a txid', flip('flat/txids.000000', 32 * 700 + 5),
        qr/block \d+: its txids do not have the Merkle root/, 'files'],
    ['a header', flip('flat/headers.000000', 80 * 40 + 70),
        qr/header 41 does not follow/, 'files'],
    ['the last header', flip('flat/headers.000000', 80 * ($height - 10) + 70),
        qr/is not the manifest's block/, 'files'],
    ['the header tree', flip('flat/hmerkle.000000', 32 * 77),
        qr/node 77 of the header tree/, 'files'],
    ['a count', flip('flat/txcounts.000000', 8 * 120), qr/block 12[01]/, 'files'],
    ['a block size', flip('flat/blocksizes.000000', 4 * 130 + 1),
        qr/block 130: the node's has other sizes/, 'files', '--node'],
    ['an offset', flip('flat/txoffsets.000000', 4 * 650 + 1),
        qr/block \d+: (offset|its first|the node's)/, 'files', '--node'],
    ['a short segment', sub { truncate file($_[0], 'flat/txids.000000'), 6400 },
        qr/txids\.000000 is missing or too short/, 'files'],
    ['a lost segment', sub { unlink glob "$_[0]/*/*/flat/headers.000000" },
        qr/headers\.000000 is missing or too short/, 'files'],
    ['a byte of a table', \&flip_table, qr/tables: /, 'rows'],
    ['a lost table', sub { unlink all_tables($_[0]) }, qr/generation: /, 'rows'],
    ['a short table', sub { truncate $_, 100 for all_tables($_[0]) },
        qr/generation: |tables: /, 'rows'],
    ['a manifest', sub { flip_file("$_[0]/generations/" . newest($_[0])
            . '/manifest', 40) }, qr/its manifest is damaged/, 'generation'],
    ['FORMAT', sub { unlink "$_[0]/FORMAT" }, undef, 'small'],
    ['a changed FORMAT', sub { flip_file("$_[0]/FORMAT", 3) }, undef, 'small'],
    ['settled/CURRENT', sub { unlink "$_[0]/settled/CURRENT" }, undef, 'small'],
    ['a changed settled/CURRENT', sub { flip_file("$_[0]/settled/CURRENT", 3) },
        undef, 'small'],
    ["the database's CURRENT", sub { unlink glob "$_[0]/settled/*/db/CURRENT" },
        undef, 'small'],
    ["the database's manifest",
        sub { truncate $_, 20 for glob "$_[0]/settled/*/db/MANIFEST-*" },
        undef, 'small'],
);

for my $d (@damages) {
    my ($name, $do, $said, $kind, @node) = @$d;
    my $dir = clone($good);
    $do->($dir);
    my ($rc, $out) = check($dir, '--full', @node);
    if ($said) {
        is($rc, $out =~ /no index to check/ ? 2 : 1, "$name: found");
        like($out, $said, '... and named');
    } else {
        my ($rc, $out) = fails_to_start($dir);
        isnt($rc, 0, "$name: the indexer does not start");
    }
    ($rc, $out) = check($dir, '--repair', @node);
    is($rc, 0, '... repaired') or diag $out;
    like($out, qr/[1-9]\d* blocks from the node|flat files of generation/,
        '... in the files') if $kind eq 'files';
    like($out, qr/going back to|will make the index again/, '... by going back')
        if $kind eq 'rows';
    $t->start_indexer(%conf, data_dir => $dir);
    $t->wait_ready($height, 60);
    $t->stop_indexer;
    is(digest($dir), $digest, '... and all is as it was') or last;
    remove_tree($dir);
}
$t->done;

sub index_of {
    my ($name, %o) = @_;
    my $dir = $t->path($name);
    $t->start_indexer(%conf, %o, data_dir => $dir);
    $t->wait_ready($height, 60);
    $t->stop_indexer;
    return $dir;
}

# Ends the indexer that followed when it has settled and tidied all it can.
sub settled_while_following {
    my $log = $t->path('indexer.log');
    $t->wait_ready($height, 60);
    $t->wait_for(sub { ($t->read_file($log) // '')
            =~ /.*settled up to block (\d+)/s && $1 > $height - 13 }, 60,
        'all settled');
    $t->wait_for(sub {
        my ($begun, $ended) = map { my $w = $_;
            scalar(() = $t->read_file($log) =~ /tidy: $w of a /g)
        } qw(begin end);
        return $ended > 0 && $begun == $ended;
    }, 60, 'tidying');
    $t->stop_indexer;
    # what is less than a batch
    $t->start_indexer(%conf, settle_batch => 1, data_dir => $tidied);
    $t->wait_for(sub { (($t->status || {})->{settled_height} // 0)
            == $height - 10 }, 60, 'the last ones');
    $t->stop_indexer;
}

# Exit code and output of the command.
sub check {
    my ($dir, @args) = @_;
    my $conf = $t->indexer_conf('check', %conf, data_dir => $dir);
    my $out = `$program check @args -c $conf 2>&1`;
    return ($? >> 8, $out);
}

sub digest {
    my ($dir) = @_;
    my ($rc, $out) = check($dir, '--digest');
    is($rc, 0, "full check of $dir") or diag $out;
    return join '', $out =~ /^(?:history|txids|unspent|spenders|flat) .*\n/mg;
}

sub fails_to_start {
    my ($dir) = @_;
    my $conf = $t->indexer_conf('check', %conf, data_dir => $dir);
    my $out = `timeout -s KILL 20 $program -c $conf 2>&1`;
    return ($?, $out);
}

sub clone {
    my ($from) = @_;
    my $dir = $t->path('damaged');
    system('cp', '-a', $from, $dir) == 0 or die "cp: $?";
    return $dir;
}

sub newest {
    my ($d) = reverse sort glob "$_[0]/generations/*";
    return $d =~ s!.*/!!r;
}

sub file {
    my ($dir, $name) = @_;
    my ($d) = reverse sort glob "$dir/generations/*";
    return "$d/$name";
}

sub flip_file {
    my ($path, $at) = @_;
    open my $fh, '+<:raw', $path or die "$path: $!";
    seek $fh, $at, 0;
    read $fh, my $byte, 1;
    seek $fh, $at, 0;
    print $fh chr(ord($byte) ^ 0x55);
    close $fh or die;
}

sub flip {
    my ($name, $at) = @_;
    return sub { flip_file(file($_[0], $name), $at) };
}

sub all_tables {
    my ($dir) = @_;
    return glob "$dir/generations/*/db/*.ldb $dir/settled/*/db/*.ldb";
}

# In the middle of the largest table's data.
sub flip_table {
    my ($dir) = @_;
    my ($d) = reverse sort glob "$dir/generations/*";
    my ($big) = sort { -s $b <=> -s $a } glob "$d/db/*.ldb";
    flip_file($big, int((-s $big) / 3));
}
