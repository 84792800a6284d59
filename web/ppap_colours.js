// Colours of the pack's sockets and links, in both node designs; a palette may name its own.
import { app } from "../../scripts/app.js";

const COLOURS = { PPAP_GUIDER: "#4fb3bf", PPAP_TARGET: "#f2a65a", PPAP_OPTIONS: "#b48ead" };

app.registerExtension({
  name: "ppap.colours",
  setup() {
    const style = document.createElement("style");
    const rules = Object.entries(COLOURS).map(([type, colour]) => `--color-datatype-${type}: ${colour};`);
    style.textContent = `:root { ${rules.join(" ")} }`;
    document.head.append(style);
    // The front end writes "" here for types that its palette does not know.
    const tables = [app.canvas.default_connection_color_byType, LiteGraph.LGraphCanvas.link_type_colors];
    for (const table of tables) {
      for (const [type, colour] of Object.entries(COLOURS)) {
        let chosen = "";
        Object.defineProperty(table, type, {
          get: () => chosen || colour,
          set: (value) => { chosen = value; },
          enumerable: true,
          configurable: true,
        });
      }
    }
  },
});
