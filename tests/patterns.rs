//! What is found in the output of attempts: the same however it is cut, in bounded memory.

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::sample::{Index, select};
use proptest::{prop_assert_eq, proptest};

use retryrun::engine::classify::Rule;
use retryrun::engine::output::{Matches, OutputPattern, Search, Stream};
use retryrun::patterns::{Matcher, Reading, are_for, check};

use crate::laws::cases;

/// The patterns of a rule.
fn patterns(rule: &str) -> Vec<OutputPattern> {
    let rule: Rule = rule.parse().expect("a rule of a test is well formed");
    rule.patterns().cloned().collect()
}

/// What is found of a rule's patterns: of each the line, `-` where it is absent, `?` where that is not known.
fn shown(rule: &str, matches: &Matches) -> Vec<String> {
    let show = |pattern: &OutputPattern| match matches.of(pattern) {
        Search::Found(line) => line.clone(),
        Search::Absent => "-".to_owned(),
        Search::Unknown => "?".to_owned(),
    };
    patterns(rule).iter().map(show).collect()
}

/// What is found in pieces of stderr.
fn found(rule: &str, pieces: &[&[u8]]) -> Vec<String> {
    let mut matcher = Matcher::new(patterns(rule), Reading::Both);
    for piece in pieces {
        matcher.feed(Stream::Stderr, piece);
    }
    shown(rule, &matcher.finish(&str::to_owned))
}

#[test]
fn a_pattern_matches_lines_of_bytes() {
    for (rule, output, expected) in [
        ("/gone/", "so\nit is gone now\nok\n", "it is gone now"),
        ("/^gone$/", "a gone\ngone\n", "gone"),
        ("/^gone$/", "gone", "gone"),
        ("/^gone$/", "a\r\ngone\r\nb\r\n", "gone"),
        ("/gone$/", "was gone\r\nb", "was gone"),
        ("/^gone$/", "not gone\ngone b", "-"),
        ("/GONE/i", "it is Gone", "it is Gone"),
        ("/GONE/", "it is Gone", "-"),
        ("/a.b/", "a\nb", "-"),
        ("/(?s)a.b/", "1 a\nb 2\n3", "b 2"),
        (r"/a\s+b/", "1 a\n    b 2\n3", "b 2"),
        (r"/gone\s+/", "it is gone\n\nx", "it is gone"),
        (r"/\bgone\b/", "begone\nis gone.", "is gone."),
        (r"/\xff/", "é", "-"),
        ("/é+!/", "né!", "né!"),
        ("/error: 4(0[0134]|10)/", "curl: (22) error: 410", "curl: (22) error: 410"),
        ("/gone/", "\x1b[31mit \x1b[1mis g\x1b[0mone\x1b[K\n", "it is gone"),
        ("/^gone/", "10%\r20%\rgone!\r\n", "gone!"),
        // Nothing is an empty text.
        ("/^/", "", ""),
        ("//", "", ""),
        ("/^$/", "", ""),
        ("/x*/", "", ""),
        ("/x/", "", "-"),
        ("//", "\x1b[0m", ""),
        ("/^$/", "\n", ""),
        ("/x*/", "abc\nd", "abc"),
        (r"/\A\z/", "", ""),
        (r"/end\z/", "the end", "the end"),
        (r"/end\z/", "the end\n", "-"),
    ] {
        assert_eq!(found(rule, &[output.as_bytes()]), [expected], "{rule} {output:?}");
    }
}

#[test]
fn all_patterns_are_found_at_once() {
    let rule = "/a/ & /b/ & /ab/ & /c/ & /(?i)A/";
    assert_eq!(found(rule, &[b"1ab\n2b"]), ["1ab", "1ab", "1ab", "-", "1ab"]);
}

#[test]
fn a_stream_has_its_own_patterns() {
    let rule = "out/a/ & err/a/ & /a/ & out/b/ & err/b/ & /b/";
    for (reading, expected) in [
        (Reading::Both, ["a out", "a err", "a err", "-", "b err", "b err"]),
        (Reading::Merged, ["a out", "a out", "a out", "b err", "b err", "b err"]),
        (Reading::Only(Stream::Stderr), ["?", "a err", "a err", "?", "b err", "b err"]),
        (Reading::Only(Stream::Stdout), ["a out", "?", "a out", "-", "?", "?"]),
    ] {
        let mut matcher = Matcher::new(patterns(rule), reading);
        // A second attempt finds what the first did.
        for _ in 0..2 {
            if reading != Reading::Only(Stream::Stderr) {
                matcher.feed(Stream::Stdout, b"a out\n");
            }
            if reading != Reading::Only(Stream::Stdout) {
                matcher.feed(Stream::Stderr, b"a err\nb err");
            }
            assert_eq!(shown(rule, &matcher.finish(&str::to_owned)), expected, "{reading:?}");
        }
        let nothing = shown(rule, &matcher.finish(&str::to_owned));
        assert!(
            nothing.iter().all(|found| found == "-" || found == "?"),
            "{reading:?} {nothing:?}"
        );
    }
}

#[test]
fn of_a_long_line_what_stands_around_the_match_is_kept() {
    let line = "é".repeat(5_000) + "gone" + &"ö".repeat(5_000) + "\nx";
    for size in [1, 7, 511, 4096, 100_000] {
        let pieces: Vec<&[u8]> = line.as_bytes().chunks(size).collect();
        let evidence = found("/gone/", &pieces).concat();
        let (before, after) = evidence.split_once("gone").expect("the match is in it");
        assert!(evidence.len() <= 1024);
        assert!(before.chars().all(|c| c == 'é') && before.len() >= 500, "{before}");
        assert!(after.chars().all(|c| c == 'ö') && after.len() >= 500, "{after}");
    }
    let binary = [&b"\xff".repeat(2_000)[..], b"gone"].concat();
    assert!(found("/gone/", &[&binary]).concat().len() <= 1024);
}

#[test]
fn a_pattern_that_cannot_be_searched_for_is_named() {
    let fault = |rule: &str| patterns(rule).iter().find_map(|pattern| check(pattern).err());
    for (rule, expected) in [
        ("/a/ & /b(/", "`b(`: unclosed group"),
        (
            "/a/ & /((a{1,1000}){1,1000}){1,1000}/",
            "`((a{1,1000}){1,1000}){1,1000}`: it is too large",
        ),
        (r"/(?u)\bb/ & /c/", r"`(?u)\bb`: "),
    ] {
        let message = fault(rule).expect("a fault");
        let begin = "expected a regular expression that can be searched for: ";
        let rest = message.strip_prefix(begin).unwrap_or_else(|| panic!("{message}"));
        assert!(rest.starts_with(expected), "{message}");
    }
    assert_eq!(fault(r"/a/ & /([a-z]{1,100}){1,60}/"), None);
    // With what nobody checked nothing is known, not even that it is absent.
    assert_eq!(found("/a/ & !/b(/", &[b"ab"]), ["?", "?"]);
}

#[test]
fn a_stream_for_which_there_is_no_pattern_need_not_be_read() {
    let are_for = |rule, stream| are_for(&patterns(rule), stream);
    assert!(are_for("out/a/ & err/b/", Stream::Stdout) && are_for("/a/", Stream::Stdout));
    assert!(!are_for("err/a/ & 7", Stream::Stdout) && !are_for("7", Stream::Stderr));
}

#[test]
fn more_states_than_are_kept_change_nothing() {
    // Each byte of `a` or `b` doubles what has to be remembered.
    let rule = "/a.{16}Z/ & /b.{16}Y/ & /end/";
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..3_000_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b"abc\n"[(state >> 24) as usize % 4]
        })
        .collect();
    assert_eq!(found(rule, &[&noise, b"\nthe end"]), ["-", "-", "the end"]);
    assert_eq!(found(rule, &[&noise, b"\na1234567890123456Z"])[0], "a1234567890123456Z");
}

/// Output made of what rules look for, escapes, characters and ends of lines.
fn output() -> impl Strategy<Value = Vec<u8>> {
    let part = select(vec![
        &b"gone"[..],
        b"error: 4",
        b"10",
        b"\n",
        b"\r\n",
        b"\r",
        b"\x1b[1m",
        b"\x1b]0;gone\x07",
        b"\x1b",
        b"\x9b0m",
        "é".as_bytes(),
        "\u{71b}".as_bytes(),
        b"\xff",
        b" ",
        b"[0;",
    ]);
    vec(part, 0..40).prop_map(|parts| parts.concat())
}

const RULE: &str = r"/gone/ & out/^gone$/ & err/gone\r?$/ & /error: 4(0[0134]|10)/ & /e\s+e/i & /(?s)g.*r/ & /^ / & /\bgone\z/";

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn what_is_found_does_not_depend_on_how_the_bytes_are_cut(output in output()) {
        let whole = found(RULE, &[&output]);
        for cut in 0..=output.len() {
            let (head, tail) = output.split_at(cut);
            prop_assert_eq!(&found(RULE, &[head, tail]), &whole, "cut at {}", cut);
        }
        let single: Vec<&[u8]> = output.chunks(1).collect();
        prop_assert_eq!(&found(RULE, &single), &whole);
    }

    #[test]
    fn bytes_of_any_kind_and_cut_do_no_harm(
        bytes in vec(any::<u8>(), 0..300),
        cuts in vec(any::<Index>(), 0..6),
    ) {
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.sort_unstable();
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut start = 0;
        for place in places {
            pieces.push(&bytes[start..place]);
            start = place;
        }
        pieces.push(&bytes[start..]);
        prop_assert_eq!(found(RULE, &pieces), found(RULE, &[&bytes]));
    }
}
