//! What is typed and clicked, at the other end.

use crate::picture::Picture;
use crate::programs::succeeded;
use crate::session::play;

/// The size of a character of the kernel's console (`lib/fonts/font_8x16.c`).
const CELL: (usize, usize) = (8, 16);

/// Which pixels of a stretch of text are lit, whatever its colour.
fn lit(picture: &Picture, row: usize, column: usize, length: usize) -> Vec<bool> {
    let (left, top) = (column * CELL.0, row * CELL.1);
    let points = (top..top + CELL.1).flat_map(|y| (left..left + length * CELL.0).map(move |x| (x, y)));
    points.map(|(x, y)| picture.pixel(x, y) != [0; 3]).collect()
}

/// The screen shows the very word that was typed: its glyphs are those of the same word in the painted page.
#[test]
fn typed_text_is_drawn_letter_by_letter() {
    let played = play(
        "screenshot before.png\ntype samovar\nkey enter\nwait-console hello: samovar\nwait-frame 1s\n\
         screenshot after.png",
    );
    succeeded(&played.output);
    let (before, after) = (played.picture("before.png"), played.picture("after.png"));
    // The page as guest-rootfs/hello/init paints it: the name on its third line, the cursor on its sixteenth.
    let word = lit(&before, 2, 22, 7);
    assert!(word.contains(&true));
    for (row, column) in [(15, 0), (16, 11)] {
        assert!(!lit(&before, row, column, 7)[..7 * 8 * 12].contains(&true));
        assert!(lit(&after, row, column, 7) == word, "row {row}");
    }
    let rows = before.rows_that_differ(&after);
    assert!(rows.iter().all(|row| (15 * 16..18 * 16).contains(row)), "{rows:?}");
}

/// Every key of a US keyboard's main block, both ways of shift.
#[test]
fn every_printable_character_can_be_typed() {
    let texts = [
        "abcdefghijklmnopqrstuvwxyz 0123456789",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "`-=[];'./~!@#$%^&*()_+{}|:<>?,",
        "\" quoted \"",
    ];
    let script: String =
        texts.map(|text| format!("type {text}\nkey enter\nwait-console hello: {text}\n")).concat();
    let played = play(&script);
    succeeded(&played.output);
}

/// A click arrives as Linux's events: where, then down, then up (Linux `struct input_event`, 24 bytes; types and codes in
/// `input-event-codes.h`).
#[test]
fn a_click_arrives_where_it_was_made() {
    let played = play(
        "type pointer\nkey enter\nwait-console hello: pointer = \nclick 640 200\nwait-console 272\nwait 500ms",
    );
    succeeded(&played.output);
    let events: Vec<Vec<u32>> = played
        .console
        .lines()
        .map(|line| line.split_whitespace().map_while(|word| word.parse().ok()).collect::<Vec<u32>>())
        .filter(|numbers| numbers.len() == 12)
        .map(|numbers| numbers[8..11].to_vec())
        .collect();
    // Half of 1280 and a quarter of 800, of 32768 each, in the middle of a pixel.
    let (x, y) = (32768 / 2 + 32768 / 1280 / 2, 32768 / 4 + 32768 / 800 / 2);
    let [absolute_x, absolute_y, moved, down, _] = &events[..] else { panic!("{}", played.console) };
    for (event, axis, wanted) in [(absolute_x, 0, x), (absolute_y, 1, y)] {
        assert_eq!(event[..2], [3, axis]);
        assert!(event[2].abs_diff(wanted) <= 1, "{events:?}: {wanted}");
    }
    assert_eq!((&moved[..], &down[..]), (&[0, 0, 0][..], &[1, 0x110, 1][..]));
}
