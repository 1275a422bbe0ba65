# Cases of t/215-rfc6455.t, numbered as in the Autobahn test suite: a list of
# [number, what is seen, what is sent ...].
#
# Sent:  { text => ..., ... }: a frame, its payload and options; see frame() in
#        the test; 'pieces' before all: how the bytes are cut ('frames', 'octets'
#        or a number).
# Seen:  'a ID': the request with this id is answered; 'e CODE': an answer that
#        is an error; 'p TEXT': a pong; a number at the end: the server closes
#        with this code. Without it the connection goes on.
use strict;
use warnings;

my ($r, @cases) = @_;    # $r->(id, length): a request, filled with blanks
my $h = sub { pack 'H*', $_[0] };

# ---- 1: lengths ----
my @lengths = (0, 125, 126, 127, 128, 65535, 65536);
for my $kind ([1, 'text'], [2, 'binary']) {
    my ($n, $op) = @$kind;
    push @cases, ["1.$n." . ($_ + 1), $lengths[$_] ? ['a 1'] : [],
        { $op => $lengths[$_] ? $r->(1, $lengths[$_]) : '' }]
        for 0 .. $#lengths;
    push @cases, ["1.$n.8", ['a 1'], 997, { $op => $r->(1, 65536) }];
}

# ---- 2: pings and pongs ----
my $binary = $h->('00fffefdfcfb00ff');
push @cases,
    ['2.1', ['p '], { ping => '' }],
    ['2.2', ['p Hello, world!'], { ping => 'Hello, world!' }],
    ['2.3', ["p $binary"], { ping => $binary }],
    ['2.4', ['p ' . "\xfe" x 125], { ping => "\xfe" x 125 }],
    ['2.5', [1002], { ping => "\xfe" x 126 }],
    ['2.6', ['p ' . "\xfe" x 125], 'octets', { ping => "\xfe" x 125 }],
    ['2.7', [], { pong => '' }],
    ['2.8', [], { pong => 'unsolicited' }],
    ['2.9', ['p ping'], { pong => 'unsolicited' }, { ping => 'ping' }],
    ['2.10', [map {"p $_"} 0 .. 9], map { { ping => "$_" } } 0 .. 9],
    ['2.11', [map {"p $_"} 0 .. 9], 'octets',
        map { { ping => "$_" } } 0 .. 9];

# ---- 3: reserved bits ----
my @one = ({ text => $r->(1) });
my @end = ({ ping => 'never' });
push @cases,
    ['3.1', [1002], { text => $r->(1), rsv => 1 }],
    ['3.2', ['a 1', 1002], @one, { text => $r->(2), rsv => 2 }, @end],
    ['3.3', ['a 1', 1002], 'frames', @one, { text => $r->(2), rsv => 3 }, @end],
    ['3.4', ['a 1', 1002], 'octets', @one, { text => $r->(2), rsv => 4 }, @end],
    ['3.5', [1002], { binary => $r->(1), rsv => 5 }],
    ['3.6', [1002], { ping => 'x', rsv => 6 }],
    ['3.7', [1002], { close => pack('n', 1000), rsv => 7 }];

# ---- 4: opcodes ----
for my $kind ([1, 3], [2, 11]) {
    my ($n, $op) = @$kind;
    push @cases,
        ["4.$n.1", [1002], { op => $op, payload => '' }],
        ["4.$n.2", [1002], { op => $op + 1, payload => 'reserved' }],
        ["4.$n.3", ['a 1', 1002], @one, { op => $op + 2, payload => '' },
            @end],
        ["4.$n.4", ['a 1', 1002], @one,
            { op => $op + 3, payload => 'reserved' }, @end],
        ["4.$n.5", ['a 1', 1002], 'octets', @one,
            { op => $op + 4, payload => 'reserved' }, @end];
}

# ---- 5: fragments ----
my ($left, $right) = ($r->(1) =~ /\A(.{20})(.*)\z/s);
my @two = ({ text => $left, fin => 0 }, { cont => $right });
my @between = ($two[0], { ping => 'between' }, $two[1]);
my @five = map { $_, { ping => 'between' } } { text => substr($left, 0, 4),
    fin => 0 }, { cont => substr($left, 4), fin => 0 }, { cont => '', fin => 0 },
    { cont => substr($right, 0, 3), fin => 0 };
push @five, { cont => substr $right, 3 };
my @pings = ('p between') x 4;
push @cases,
    ['5.1', [1002], { ping => 'a', fin => 0 }, { cont => 'b' }],
    ['5.2', [1002], { pong => 'a', fin => 0 }, { cont => 'b' }],
    ['5.3', ['a 1'], @two],
    ['5.4', ['a 1'], 'frames', @two],
    ['5.5', ['a 1'], 'octets', @two],
    ['5.6', ['p between', 'a 1'], @between],
    ['5.7', ['p between', 'a 1'], 'frames', @between],
    ['5.8', ['p between', 'a 1'], 'octets', @between],
    (map { my ($n, $fin, @cut) = @$_;
        [$n, [1002], @cut, { cont => 'non-continuation', fin => $fin }, @one] }
        ['5.9', 1], ['5.10', 1, 'frames'], ['5.11', 1, 'octets'], ['5.12', 0],
        ['5.13', 0, 'frames'], ['5.14', 0, 'octets']),
    ['5.15', ['a 1', 1002], @two, { cont => 'nothing', fin => 0 },
        { text => $r->(2) }],
    ['5.16', [1002], map { ({ cont => 'a', fin => 0 }, { text => $r->(1),
        fin => 0 }, { cont => '' }) } 1, 2],
    ['5.17', [1002], map { ({ cont => 'a' }, { text => $r->(1), fin => 0 },
        { cont => '' }) } 1, 2],
    ['5.18', [1002], { text => $left, fin => 0 }, { text => $right }],
    ['5.19', [@pings, 'a 1'], @five],
    ['5.20', [@pings, 'a 1'], 'frames', @five];

# ---- 6: UTF-8, as the id of a request ----
my ($head, $tail) = ('{"method":"server.ping","id":"', '"}');
my $kosme = $h->('cebae1bdb9cf83cebcceb5');
my $wrong = $kosme . $h->('eda080') . 'edited';

# Whether it is valid must be seen; 00 is, but no JSON string may have it.
my $whole = sub { my ($n, $valid, $text) = @_;
    return [$n, $text =~ /\0/ ? ['e -32700'] : $valid ? ["a \"$text\""]
        : [1007], { text => "$head$text$tail" }] };
my $fragments = sub { my ($n, $valid, $text, $size) = @_;
    my @parts = ($head, unpack("(a$size)*", $text), $tail);
    return [$n, $valid ? ["a \"$text\""] : [1007],
        map { { ($_ ? 'cont' : 'text') => $parts[$_], fin => $_ == $#parts } }
            0 .. $#parts] };
push @cases,
    ['6.1.1', [], { text => '' }],
    ['6.1.2', [], { text => '', fin => 0 }, { cont => '', fin => 0 },
        { cont => '' }],
    ['6.1.3', ['a 1'], { text => '', fin => 0 }, { cont => $r->(1), fin => 0 },
        { cont => '' }];
my $hello = 'Hello-' . $h->('c2b5') . '@' . $h->('c39fc3b6c3a4c3bcc3a0c3a1')
    . '-UTF-8!!';
push @cases, $whole->('6.2.1', 1, $hello), $fragments->('6.2.2', 1, $hello, 9),
    $fragments->('6.2.3', 1, $hello, 1), $fragments->('6.2.4', 1, $kosme, 1),
    $whole->('6.3.1', 0, $wrong), $fragments->('6.3.2', 0, $wrong, 1);

# What comes after the first wrong byte must not be waited for.
push @cases,
    ['6.4.1', [1007], 'frames', { text => $head . $kosme, fin => 0 },
        { cont => $h->('f4908080'), fin => 0 }],
    ['6.4.2', [1007], 'frames', { text => $head . $kosme . $h->('f4'),
        fin => 0 }, { cont => $h->('90'), fin => 0 }],
    ['6.4.3', [1007], 'octets', { text => $head . $kosme . $h->('f49080'),
        length => 4000, form => 16 }],
    ['6.4.4', [1007], 'octets', { text => $head . $kosme . $h->('f490'),
        length => 4000, form => 16 }];
push @cases, [@{ $whole->("6.5.$_->[0]", 1, $hello) }[0, 1], $_->[1],
    { text => "$head$hello$tail" }]
    for [1, 'frames'], [2, 'octets'], [3, 2], [4, 3], [5, 5];
my %complete = map { $_ => 1 } 2, 5, 7, 9, 11;
push @cases, ["6.6.$_", $complete{$_} ? ["a \"" . substr($kosme, 0, $_) . '"']
    : [1007], { text => $complete{$_} ? $head . substr($kosme, 0, $_) . $tail
        : substr $kosme, 0, $_ }] for 1 .. 11;

my %groups = (
    '6.7 valid'  => [qw(00 c280 e0a080 f0908080)],
    '6.8 wrong'  => [qw(f888808080 fc8480808080)],
    '6.9 valid'  => [qw(7f dfbf efbfbf f48fbfbf)],
    '6.10 wrong' => [qw(f7bfbfbf fbbfbfbfbf fdbfbfbfbfbf)],
    '6.11 valid' => [qw(ed9fbf ee8080 efbfbd f48fbfbf)],
    '6.12 wrong' => [qw(80 bf 80bf 80bf80 80bf80bf 80bf80bf80 80bf80bf80bf),
        join '', map { sprintf '%02x', $_ } 0x80 .. 0xbf],
    '6.13 wrong' => [map { my ($from, $to) = @$_;
        join '', map { sprintf '%02x20', $_ } $from .. $to }
        [0xc0, 0xdf], [0xe0, 0xef], [0xf0, 0xf7], [0xf8, 0xfb], [0xfc, 0xfd]],
    '6.14 wrong' => [qw(c0 e080 f08080 f8808080 fc80808080 df efbf f7bfbf
        fbbfbfbf fdbfbfbfbf)],
    '6.15 wrong' => ['c0e080f08080f8808080fc80808080dfefbff7bfbffbbfbfbffdbfbfbfbf'],
    '6.16 wrong' => [qw(fe ff fefeffff)],
    '6.17 wrong' => [qw(c0af e080af f08080af f8808080af fc80808080af)],
    '6.18 wrong' => [qw(c1bf e09fbf f08fbfbf f887bfbfbf fc83bfbfbfbf)],
    '6.19 wrong' => [qw(c080 e08080 f0808080 f880808080 fc8080808080)],
    '6.20 wrong' => [qw(eda080 edadbf edae80 edafbf edb080 edbe80 edbfbf)],
    '6.21 wrong' => [map { my $a = $_; map {"$a$_"} qw(edb080 edbfbf) }
        qw(eda080 edadbf edae80 edafbf)],
    # those that are no characters
    '6.22 valid' => [map { my $plane = $_; map { my $s = chr($plane * 65536
        + $_); utf8::encode($s); unpack 'H*', $s } 0xfffe, 0xffff } 0 .. 16],
    '6.23 valid' => [map {"efbf$_"} qw(b9 ba bb bc bd be bf)],
);
for my $group (sort { ($a =~ /6\.(\d+)/)[0] <=> ($b =~ /6\.(\d+)/)[0] }
    keys %groups)
{
    my ($number, $what) = split ' ', $group;
    my $n = 0;
    push @cases, map { $whole->("$number." . ++$n, $what eq 'valid',
        $h->($_)) } @{ $groups{$group} };
}
push @cases, $whole->('6.11.5', 0, $h->('f4908080'));

# ---- 7: close ----
my $bye = { close => pack 'n', 1000 };
push @cases,
    ['7.1.1', ['a 1', 1000], @one, $bye],
    ['7.1.2', [1000], $bye, $bye],
    ['7.1.3', [1000], $bye, @end],
    ['7.1.4', [1000], $bye, @one],
    ['7.1.5', [1000], $two[0], $bye, $two[1]],
    ['7.1.6', ['a 1', 1000], { text => $r->(1, 262_144) }, $bye, @end],
    ['7.3.1', [1005], { close => '' }],
    ['7.3.2', [1002], { close => 'a' }],
    ['7.3.3', [1000], $bye],
    ['7.3.4', [1000], { close => pack('n', 1000) . 'Hello World!' }],
    ['7.3.5', [1000], { close => pack('n', 1000) . '*' x 123 }],
    ['7.3.6', [1002], { close => pack('n', 1000) . '*' x 124 }],
    ['7.5.1', [1007], { close => pack('n', 1000) . $wrong }];
my $n = 0;
push @cases, ['7.7.' . ++$n, [$_], { close => pack 'n', $_ }]
    for 1000 .. 1003, 1007 .. 1011, 3000, 3999, 4000, 4999;
$n = 0;
push @cases, ['7.9.' . ++$n, [1002], { close => pack 'n', $_ }]
    for 0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999;
push @cases, ['7.13.1', [1002], { close => pack 'n', 5000 }],
    ['7.13.2', [1002], { close => pack 'n', 65535 }];

# ---- 10: many fragments ----
my @parts = unpack '(a1300)*', $r->(1, 65536);
push @cases, ['10.1.1', ['a 1'], map { { ($_ ? 'cont' : 'text') => $parts[$_],
    fin => $_ == $#parts } } 0 .. $#parts];

# ---- ours: limits and what the suite cannot send ----
push @cases,
    ['L.1', ['a 1'], { text => $r->(1, 300_000) }],
    ['L.2', ['e -32600', 1009], { text => $r->(1, 300_000) . 'xxx' }],
    ['L.3', ['e -32600', 1009], { text => $left, fin => 0 }, { cont => ' ' x 300_000 }],
    ['L.4', ['e -32600', 1009], { text => '', length => 2**62, form => 64 }],
    ['L.5', [1002], { text => '', length => 2**63, form => 64 }],
    ['L.6', [1002], { text => $r->(1), form => 16 }],
    ['L.7', [1002], { text => $r->(1), form => 64 }],
    ['L.8', [1002], { text => $r->(1), mask => 0 }],
    ['L.9', [1002], { ping => 'x', mask => 0 }],
    ['L.10', [1002], { ping => 'x', form => 16 }],
    ['L.11', ['a 1'], { text => $r->(1) . "\r\n" }],
    ['L.12', ['e -32700'], { text => 'no JSON' }];

return \@cases;
