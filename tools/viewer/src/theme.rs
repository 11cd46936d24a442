//! Colours, sizes and distances, for light and dark.

use eframe::egui::style::{Selection, WidgetVisuals};
use eframe::egui::{
    Color32, Context, CornerRadius, FontFamily, FontId, Margin, Shadow, Stroke, Style, TextStyle, Theme,
    ThemePreference, Ui, Visuals, vec2,
};

use crate::settings::Look;

/// Widest column of text: longer lines are hard to read.
pub(crate) const COLUMN: f32 = 720.0;
/// Width of the panel of the model and the device.
pub(crate) const DETAILS: f32 = 272.0;
/// Least width of a window that has that panel beside the conversation.
pub(crate) const WIDE: f32 = 880.0;
/// Roundness of cards.
pub(crate) const ROUND: u8 = 10;

/// The colours of a theme.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Palette {
    /// Behind the conversation.
    pub(crate) ground: Color32,
    /// Behind panels.
    pub(crate) panel: Color32,
    /// Behind what is written in.
    pub(crate) card: Color32,
    /// Between panels.
    pub(crate) line: Color32,
    /// Of a slider's rail.
    pub(crate) rail: Color32,
    pub(crate) text: Color32,
    /// Of what is less important. Its contrast is that of text all the same.
    pub(crate) weak: Color32,
    /// Of the one thing that is to be done next.
    pub(crate) accent: Color32,
    pub(crate) on_accent: Color32,
    /// Behind a word that is looked at.
    pub(crate) mark: Color32,
    /// Of what went wrong.
    pub(crate) danger: Color32,
    /// Behind it.
    pub(crate) danger_ground: Color32,
}

const DARK: Palette = Palette {
    ground: Color32::from_rgb(0x17, 0x19, 0x1e),
    panel: Color32::from_rgb(0x1d, 0x20, 0x26),
    card: Color32::from_rgb(0x24, 0x28, 0x30),
    line: Color32::from_rgb(0x30, 0x35, 0x3f),
    rail: Color32::from_rgb(0x6d, 0x75, 0x84),
    text: Color32::from_rgb(0xe7, 0xe9, 0xee),
    weak: Color32::from_rgb(0x9d, 0xa5, 0xb4),
    accent: Color32::from_rgb(0xe5, 0xa9, 0x4d),
    on_accent: Color32::from_rgb(0x20, 0x18, 0x0a),
    mark: Color32::from_rgb(0x5a, 0x46, 0x22),
    danger: Color32::from_rgb(0xf2, 0x8b, 0x82),
    danger_ground: Color32::from_rgb(0x38, 0x22, 0x24),
};

const LIGHT: Palette = Palette {
    ground: Color32::from_rgb(0xfc, 0xfc, 0xfb),
    panel: Color32::from_rgb(0xf4, 0xf4, 0xf2),
    card: Color32::from_rgb(0xff, 0xff, 0xff),
    line: Color32::from_rgb(0xdf, 0xdf, 0xdb),
    rail: Color32::from_rgb(0x84, 0x88, 0x90),
    text: Color32::from_rgb(0x1f, 0x22, 0x28),
    weak: Color32::from_rgb(0x62, 0x67, 0x70),
    accent: Color32::from_rgb(0x9a, 0x5b, 0x00),
    on_accent: Color32::from_rgb(0xff, 0xff, 0xff),
    mark: Color32::from_rgb(0xfb, 0xe3, 0xb5),
    danger: Color32::from_rgb(0xb3, 0x26, 0x1e),
    danger_ground: Color32::from_rgb(0xfd, 0xec, 0xea),
};

/// The colours of the theme that a part of the window is drawn in.
pub(crate) fn palette(ui: &Ui) -> Palette {
    if ui.visuals().dark_mode { DARK } else { LIGHT }
}

/// Colour behind everything.
pub(crate) fn ground(visuals: &Visuals) -> Color32 {
    if visuals.dark_mode { DARK.ground } else { LIGHT.ground }
}

/// Sets both themes.
pub(crate) fn install(ctx: &Context) {
    for (theme, palette) in [(Theme::Dark, DARK), (Theme::Light, LIGHT)] {
        ctx.style_mut_of(theme, |style| apply(style, theme, palette));
    }
}

/// Chooses one.
pub(crate) fn choose(ctx: &Context, look: Look) {
    ctx.set_theme(match look {
        Look::System => ThemePreference::System,
        Look::Light => ThemePreference::Light,
        Look::Dark => ThemePreference::Dark,
    });
}

fn apply(style: &mut Style, theme: Theme, p: Palette) {
    style.text_styles = [
        (TextStyle::Small, FontId::new(12.5, FontFamily::Proportional)),
        (TextStyle::Body, FontId::new(15.0, FontFamily::Proportional)),
        (TextStyle::Button, FontId::new(14.0, FontFamily::Proportional)),
        (TextStyle::Heading, FontId::new(20.0, FontFamily::Proportional)),
        (TextStyle::Monospace, FontId::new(13.0, FontFamily::Monospace)),
    ]
    .into();
    style.spacing.item_spacing = vec2(8.0, 8.0);
    style.spacing.button_padding = vec2(12.0, 6.0);
    style.spacing.interact_size = vec2(40.0, 30.0);
    style.spacing.window_margin = Margin::same(20);
    style.spacing.menu_margin = Margin::same(6);
    style.spacing.combo_width = 160.0;
    style.spacing.slider_width = 180.0;

    let mut visuals = match theme {
        Theme::Dark => Visuals::dark(),
        Theme::Light => Visuals::light(),
    };
    let radius = CornerRadius::same(7);
    let widget = |fill: Color32, line: Color32, text: Color32| WidgetVisuals {
        bg_fill: fill,
        weak_bg_fill: fill,
        bg_stroke: Stroke::new(1.0, line),
        corner_radius: radius,
        fg_stroke: Stroke::new(1.0, text),
        expansion: 0.0,
    };
    let lifted = p.card.lerp_to_gamma(p.text, 0.06);
    let pressed = p.card.lerp_to_gamma(p.text, 0.12);
    visuals.widgets.noninteractive = widget(p.panel, p.line, p.text);
    visuals.widgets.inactive = widget(p.card, p.line, p.text);
    visuals.widgets.hovered = widget(lifted, p.weak, p.text);
    visuals.widgets.active = widget(pressed, p.accent, p.text);
    visuals.widgets.open = widget(pressed, p.line, p.text);
    visuals.selection = Selection { bg_fill: p.mark, stroke: Stroke::new(1.0, p.text) };
    visuals.hyperlink_color = p.accent;
    visuals.panel_fill = p.panel;
    visuals.window_fill = p.panel;
    visuals.window_stroke = Stroke::new(1.0, p.line);
    visuals.window_corner_radius = CornerRadius::same(14);
    visuals.menu_corner_radius = CornerRadius::same(ROUND);
    visuals.faint_bg_color = p.panel;
    visuals.extreme_bg_color = p.ground;
    visuals.text_edit_bg_color = Some(p.ground);
    visuals.weak_text_color = Some(p.weak);
    visuals.warn_fg_color = p.accent;
    visuals.error_fg_color = p.danger;
    visuals.slider_trailing_fill = true;
    let shadow = Shadow { offset: [0, 8], blur: 24, spread: 0, color: Color32::from_black_alpha(60) };
    (visuals.window_shadow, visuals.popup_shadow) = (shadow, shadow);
    style.visuals = visuals;
}

/// The colour of how much a place was looked at, 0 to 1, over a picture.
pub(crate) fn heat(value: f32) -> Color32 {
    const STOPS: [[f32; 4]; 4] = [
        [22.0, 18.0, 60.0, 165.0],
        [120.0, 30.0, 110.0, 150.0],
        [235.0, 90.0, 50.0, 130.0],
        [255.0, 225.0, 110.0, 140.0],
    ];
    let at = value.clamp(0.0, 1.0) * (STOPS.len() - 1) as f32;
    let stop = (at as usize).min(STOPS.len() - 2);
    let part = at - stop as f32;
    let [r, g, b, a] =
        std::array::from_fn(|i| (STOPS[stop][i] * (1.0 - part) + STOPS[stop + 1][i] * part).round() as u8);
    Color32::from_rgba_unmultiplied(r, g, b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// WCAG 2's contrast of two colours.
    fn contrast(a: Color32, b: Color32) -> f32 {
        let luminance = |c: Color32| {
            let linear = |v: u8| match f32::from(v) / 255.0 {
                v if v <= 0.04045 => v / 12.92,
                v => ((v + 0.055) / 1.055).powf(2.4),
            };
            0.2126 * linear(c.r()) + 0.7152 * linear(c.g()) + 0.0722 * linear(c.b())
        };
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn all_text_has_the_contrast_that_wcag_asks_for() {
        for p in [DARK, LIGHT] {
            for ground in [p.ground, p.panel, p.card] {
                for text in [p.text, p.weak, p.danger] {
                    assert!(
                        contrast(text, ground) >= 4.5,
                        "{text:?} on {ground:?}: {}",
                        contrast(text, ground)
                    );
                }
            }
            // A control needs less than text.
            assert!(contrast(p.rail, p.panel) >= 3.0, "{}", contrast(p.rail, p.panel));
            let pairs = [(p.on_accent, p.accent), (p.text, p.mark), (p.danger, p.danger_ground)];
            for (text, ground) in pairs {
                assert!(contrast(text, ground) >= 4.5, "{text:?} on {ground:?}: {}", contrast(text, ground));
            }
        }
    }

    #[test]
    fn what_was_looked_at_more_is_brighter() {
        let bright = |value| {
            let c = heat(value);
            u32::from(c.r()) + u32::from(c.g())
        };
        assert!((0..10).all(|i| bright(i as f32 / 10.0) <= bright((i + 1) as f32 / 10.0)));
    }
}
