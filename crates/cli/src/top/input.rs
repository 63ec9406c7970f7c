//! What each key does.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::controls::{Controls, Page, Step};
use super::model::Model;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Continue,
    /// To the background, for the shell's job control.
    Suspend,
    End,
}

/// The keys of the pages, for their last line.
pub(super) const fn help(page: Page) -> &'static str {
    match page {
        Page::Peers => {
            "q quit  arrows choose  Enter details  Tab device  s sort  r reverse  / filter"
        }
        Page::Filter => "Enter keep the filter  Esc clear it",
        Page::Details => "Esc back  arrows other peer  q quit",
    }
}

/// A key has been pressed.
pub(super) fn press(key: KeyEvent, controls: &mut Controls, model: &Model) -> Then {
    if key.kind == KeyEventKind::Release {
        return Then::Continue;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'd') => Then::End,
            KeyCode::Char('z') => Then::Suspend,
            _ => Then::Continue,
        };
    }
    match controls.page {
        Page::Filter => type_filter(key.code, controls),
        Page::Peers | Page::Details => return command(key.code, controls, model),
    }
    Then::Continue
}

fn type_filter(key: KeyCode, controls: &mut Controls) {
    match key {
        KeyCode::Char(letter) => controls.type_in(letter),
        KeyCode::Backspace => drop(controls.filter.pop()),
        KeyCode::Enter => controls.page = Page::Peers,
        KeyCode::Esc => {
            controls.filter.clear();
            controls.page = Page::Peers;
        }
        _ => {}
    }
}

fn command(key: KeyCode, controls: &mut Controls, model: &Model) -> Then {
    let step = match key {
        KeyCode::Up | KeyCode::Char('k') => Some(Step::Up),
        KeyCode::Down | KeyCode::Char('j') => Some(Step::Down),
        KeyCode::PageUp => Some(Step::PageUp),
        KeyCode::PageDown => Some(Step::PageDown),
        KeyCode::Home | KeyCode::Char('g') => Some(Step::First),
        KeyCode::End | KeyCode::Char('G') => Some(Step::Last),
        _ => None,
    };
    if let Some(step) = step {
        controls.step(step, model);
        return Then::Continue;
    }
    match (controls.page, key) {
        (_, KeyCode::Char('q')) => return Then::End,
        (Page::Details, KeyCode::Esc | KeyCode::Enter | KeyCode::Backspace) => {
            controls.page = Page::Peers;
        }
        (Page::Details, _) => {}
        (_, KeyCode::Enter) => controls.open(model),
        (_, KeyCode::Tab) => controls.next_device(model),
        (_, KeyCode::Char('s')) => controls.order = controls.order.next(),
        (_, KeyCode::Char('r')) => controls.is_reversed = !controls.is_reversed,
        (_, KeyCode::Char('/')) => controls.page = Page::Filter,
        (_, KeyCode::Esc) => controls.filter.clear(),
        _ => {}
    }
    Then::Continue
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::model::tests::{device, peer, sample, whose};
    use super::super::order::Order;
    use super::*;

    fn type_keys(keys: &[KeyCode], controls: &mut Controls, model: &Model) -> Then {
        let press = |key: &KeyCode| press((*key).into(), controls, model);
        keys.iter().map(press).last().unwrap()
    }

    fn model() -> Model {
        let mut model = Model::default();
        let peers = vec![peer(1, 0, 0), peer(2, 0, 0)];
        model.take(sample(Instant::now(), vec![device("tun0", 3, peers)]));
        model
    }

    #[test]
    fn a_filter_is_typed_and_cleared() {
        let (mut controls, model) = (Controls::default(), model());
        let keys = ['/', 'q', '2', 'x'].map(KeyCode::Char);
        assert_eq!(type_keys(&keys, &mut controls, &model), Then::Continue);
        type_keys(&[KeyCode::Backspace, KeyCode::Enter], &mut controls, &model);
        assert_eq!(
            (controls.page, controls.filter.as_str()),
            (Page::Peers, "q2")
        );
        assert!(controls.peers(&model).is_empty());
        type_keys(&[KeyCode::Esc], &mut controls, &model);
        assert_eq!(controls.peers(&model).len(), 2);
    }

    #[test]
    fn keys_choose_sort_and_end() {
        let (mut controls, model) = (Controls::default(), model());
        let keys = [KeyCode::Down, KeyCode::Char('j'), KeyCode::Enter];
        type_keys(&keys, &mut controls, &model);
        assert_eq!(controls.page, Page::Details);
        assert_eq!(controls.chosen, Some(whose(3, Some(2))));
        type_keys(
            &[KeyCode::Esc, KeyCode::Char('s'), KeyCode::Char('r')],
            &mut controls,
            &model,
        );
        assert_eq!(
            (controls.page, controls.order),
            (Page::Peers, Order::Received)
        );
        assert!(controls.is_reversed);
        let end = type_keys(&[KeyCode::Char('q')], &mut controls, &model);
        assert_eq!(end, Then::End);
        for (letter, then) in [
            ('c', Then::End),
            ('z', Then::Suspend),
            ('x', Then::Continue),
        ] {
            let key = KeyEvent::new(KeyCode::Char(letter), KeyModifiers::CONTROL);
            assert_eq!(press(key, &mut controls, &model), then);
        }
    }
}
