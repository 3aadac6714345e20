//! A text as a QR code: on a terminal, in a page, in a mail. Black on white, error correction L (spec/deeplink.md §4).

use qrcode::{Color, EcLevel, QrCode, render::unicode::Dense1x2};

/// Modules of white around the code, as the standard asks.
const QUIET_MODULES: usize = 4;
/// Side of a module in the picture for mails.
const MODULE_PIXELS: usize = 8;

/// No QR code holds so much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the text is too long for a QR code")]
pub struct TooLong;

/// With half blocks. Terminals are mostly dark: light modules are drawn, so that the code is dark on light.
///
/// # Errors
/// The text is too long.
pub fn terminal(text: &str) -> Result<String, TooLong> {
    Ok(code(text)?.render::<Dense1x2>().dark_color(Dense1x2::Light).light_color(Dense1x2::Dark).build())
}

/// An `svg` element without styles or links, for pages that allow nothing else.
///
/// # Errors
/// The text is too long.
pub fn svg(text: &str) -> Result<String, TooLong> {
    let grid = Grid::of(text)?;
    let side = grid.side;
    let mut path = String::new();
    for (x, y) in grid.dark() {
        path.push_str(&format!("M{x} {y}h1v1h-1z"));
    }
    Ok(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" role=\"img\" aria-label=\"QR code\" \
         shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{side}v{side}h-{side}z\"/><path fill=\"#000\" d=\"{path}\"/></svg>"
    ))
}

/// A black and white PNG, eight pixels per module.
///
/// # Errors
/// The text is too long.
pub fn png(text: &str) -> Result<Vec<u8>, TooLong> {
    let grid = Grid::of(text)?;
    let side = grid.side * MODULE_PIXELS;
    // A module is as wide as a byte has bits, so each byte of a line is one module.
    let mut lines = vec![0xff_u8; grid.side * side];
    for (x, y) in grid.dark() {
        for line in y * MODULE_PIXELS..(y + 1) * MODULE_PIXELS {
            lines[line * grid.side + x] = 0;
        }
    }
    let side = u32::try_from(side).map_err(|_| TooLong)?;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().expect("a Vec takes every header");
    writer.write_image_data(&lines).expect("the lines have the length that the header announces");
    drop(writer);
    Ok(file)
}

/// Which modules are dark, the quiet zone included.
struct Grid {
    side: usize,
    colors: Vec<Color>,
}

impl Grid {
    fn of(text: &str) -> Result<Grid, TooLong> {
        let code = code(text)?;
        Ok(Grid { side: code.width() + 2 * QUIET_MODULES, colors: code.to_colors() })
    }

    fn dark(&self) -> impl Iterator<Item = (usize, usize)> {
        let width = self.side - 2 * QUIET_MODULES;
        let dark = self.colors.iter().enumerate().filter(|(_, color)| **color == Color::Dark);
        dark.map(move |(at, _)| (at % width + QUIET_MODULES, at / width + QUIET_MODULES))
    }
}

fn code(text: &str) -> Result<QrCode, TooLong> {
    QrCode::with_error_correction_level(text, EcLevel::L).map_err(|_| TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: &str = "flyve://register?data=aHR0cDovL2FwaS5kb21haW4uY29tXDs0NWVyamJ1ZGtscTU4NjVzZGtqaGprcw";

    fn read_back(width: usize, height: usize, gray: impl FnMut(usize, usize) -> u8) -> String {
        let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, gray);
        let grids = picture.detect_grids();
        grids[0].decode().unwrap().1
    }

    #[test]
    fn the_picture_says_what_was_put_in() {
        let mut reader = png::Decoder::new(std::io::Cursor::new(png(LINK).unwrap())).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let gray = |x: usize, y: usize| {
            if pixels[y * info.line_size + x / 8] >> (7 - x % 8) & 1 == 1 { 255 } else { 0 }
        };
        assert_eq!(read_back(info.width as usize, info.height as usize, gray), LINK);
    }

    #[test]
    fn the_element_draws_the_same_modules() {
        let svg = svg(LINK).unwrap();
        let grid = Grid::of(LINK).unwrap();
        assert_eq!(svg.matches("h1v1h-1z").count(), grid.dark().count());
        assert!(svg.contains("M4 4h1v1h-1z"), "the corner after the quiet zone is dark");
    }

    #[test]
    fn what_no_code_can_hold_is_refused() {
        let long = "x".repeat(3000);
        assert_eq!((terminal(&long), svg(&long), png(&long)), (Err(TooLong), Err(TooLong), Err(TooLong)));
    }
}
