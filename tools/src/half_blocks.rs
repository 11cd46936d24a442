//! Pictures in a terminal: each character is an upper half block, so it shows two pixels.

use std::fmt::Write;

use strix_model::image::RgbImage;

type Rgb = [u8; 3];

/// The pictures side by side, shrunk to fit `columns` characters and `rows` lines.
pub(crate) fn beside(pictures: &[RgbImage], columns: usize, rows: usize) -> Vec<String> {
    const GAP: usize = 2;
    let each = (columns + GAP) / pictures.len().max(1);
    let each = each.saturating_sub(GAP).max(1);
    let grids: Vec<_> = pictures
        .iter()
        .map(|p| half_blocks(p.as_raw(), p.width() as usize, p.height() as usize, each, rows))
        .collect();
    let height = grids.iter().map(Vec::len).max().unwrap_or(0);
    (0..height).map(|y| grids.iter().map(|grid| line(grid, y)).collect::<Vec<_>>().join("  ")).collect()
}

/// Line `y` of a grid in truecolor; spaces below its end.
fn line(grid: &[Vec<[Rgb; 2]>], y: usize) -> String {
    let Some(cells) = grid.get(y) else { return " ".repeat(grid.first().map_or(0, Vec::len)) };
    let mut text = String::new();
    for [[r, g, b], [r2, g2, b2]] in cells {
        let _ = write!(text, "\x1b[38;2;{r};{g};{b};48;2;{r2};{g2};{b2}m▀");
    }
    text + "\x1b[0m"
}

/// `[upper, lower]` colour of each character. The picture keeps its aspect, and is never enlarged.
fn half_blocks(rgb: &[u8], width: usize, height: usize, columns: usize, rows: usize) -> Vec<Vec<[Rgb; 2]>> {
    let scale = (columns as f64 / width as f64).min(2.0 * rows as f64 / height as f64).min(1.0);
    let across = ((width as f64 * scale).round() as usize).max(1);
    let down = ((height as f64 * scale / 2.0).round() as usize).max(1);
    let pixel = |x: usize, y: usize| {
        let xs = part(x, across, width);
        mean(rgb, width, xs, part(y, 2 * down, height))
    };
    (0..down).map(|y| (0..across).map(|x| [pixel(x, 2 * y), pixel(x, 2 * y + 1)]).collect()).collect()
}

/// Part `i` of `0..len` cut into `parts`, at least one long.
fn part(i: usize, parts: usize, len: usize) -> std::ops::Range<usize> {
    let from = i * len / parts;
    from..((i + 1) * len / parts).max(from + 1)
}

fn mean(rgb: &[u8], width: usize, xs: std::ops::Range<usize>, ys: std::ops::Range<usize>) -> Rgb {
    let count = xs.len() * ys.len();
    let mut sum = [0; 3];
    for y in ys {
        for pixel in rgb[3 * (y * width + xs.start)..3 * (y * width + xs.end)].chunks_exact(3) {
            for (sum, &value) in sum.iter_mut().zip(pixel) {
                *sum += usize::from(value);
            }
        }
    }
    sum.map(|sum| ((sum + count / 2) / count) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RED: Rgb = [255, 0, 0];
    const BLUE: Rgb = [0, 0, 255];

    #[test]
    fn two_pixels_are_one_character() {
        let grid = half_blocks(&[RED, BLUE].concat(), 1, 2, 80, 24);
        assert_eq!(grid, [[[RED, BLUE]]]);
        assert_eq!(line(&grid, 0), "\x1b[38;2;255;0;0;48;2;0;0;255m▀\x1b[0m");
        assert_eq!(line(&grid, 1), " ");
    }

    #[test]
    fn one_pixel_is_drawn() {
        assert_eq!(half_blocks(&RED, 1, 1, 80, 24), [[[RED, RED]]]);
    }

    #[test]
    fn shrinking_keeps_aspect_and_averages() {
        let checks: Vec<u8> =
            (0..40 * 20).flat_map(|i| if i % 2 == 0 { [200; 3] } else { [100; 3] }).collect();
        let grid = half_blocks(&checks, 40, 20, 10, 24);
        assert_eq!((grid.len(), grid[0].len()), (3, 10));
        assert!(grid.iter().flatten().flatten().flatten().all(|&v| v == 150));
    }

    #[test]
    fn rows_bound_a_tall_picture() {
        let grid = half_blocks(&vec![7; 3 * 10 * 1000], 10, 1000, 80, 12);
        assert_eq!((grid.len(), grid[0].len()), (12, 1));
    }
}
