"""Opens report.html in a headless Chromium without a network, and checks what a reader sees.

    python3 browser.py RUN/report.html FOLDER

For each width the page must have no error on the console and no horizontal overflow, and each figure must have marks
of its data. FOLDER gets a screenshot for each width. The Python package `selenium` and Debian's `chromium` and
`chromium-driver` are needed.
"""

import pathlib
import sys
import tempfile

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

WIDTHS = (400, 1400)

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# The marks of a figure's data, by the kind of the figure.
MARKS = """
const figure = arguments[0];
const count = selector => figure.querySelectorAll(selector).length;
const points = [...figure.querySelectorAll("polyline")].reduce((sum, line) => sum + line.points.numberOfItems, 0);
return points + count("rect[fill-opacity]") + count(".mark") + count("img") + count("code");
"""


def browser(folder, scheme, host=None):
    """Starts a browser that resolves no name but `host`, so that a page which loads something fails."""
    options = Options()
    options.add_argument("--host-resolver-rules=MAP * ~NOTFOUND" + (f", EXCLUDE {host}" if host else ""))
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    if scheme == "dark":
        options.add_argument("--blink-settings=preferredColorScheme=0")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def complaints(driver, width):
    """Returns what is wrong with the page at a width."""
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    driver.refresh()
    found = [f"console: {entry['message']}" for entry in driver.get_log("browser")]
    for figure in driver.find_elements(By.CSS_SELECTOR, "[data-figure]"):
        name = figure.get_attribute("data-figure")
        if not driver.execute_script(MARKS, figure):
            found.append(f"the figure {name} has no data")
        box = figure.rect
        if box["width"] > width or box["height"] < 40:
            found.append(f"the figure {name} has the size {box['width']}x{box['height']}")
    wide = driver.execute_script("return document.documentElement.scrollWidth")
    if wide > width:
        found.append(f"the page is {wide} pixels wide")
    small = driver.execute_script(
        "return [...document.querySelectorAll('svg text')].filter(t => parseFloat(getComputedStyle(t).fontSize) < 11).length"
    )
    if small:
        found.append(f"{small} texts are smaller than 11 pixels")
    return found


def each_round(driver):
    """Draws each round of the timeline, at two zooms."""
    found = []
    select = Select(driver.find_element(By.ID, "round"))
    for index in range(len(select.options)):
        select.select_by_index(index)
        driver.find_element(By.ID, "in").click()
        if not driver.find_elements(By.CSS_SELECTOR, ".scroll .mark"):
            found.append(f"the round {select.options[index].text} has no marks")
    select.select_by_index(min(1, len(select.options) - 1))
    return found


def main():
    page, out = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    wrong = []
    for scheme in ("light", "dark"):
        with tempfile.TemporaryDirectory() as folder:
            driver = browser(folder, scheme)
            try:
                driver.get(page.as_uri())
                for width in WIDTHS:
                    found = complaints(driver, width)
                    if driver.find_elements(By.ID, "round"):
                        found += each_round(driver)
                    height = driver.execute_script("return document.documentElement.scrollHeight")
                    whole = {"width": width, "height": min(height, 9000), "deviceScaleFactor": 1, "mobile": False}
                    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", whole)
                    driver.save_screenshot(str(out / f"report-{scheme}-{width}.png"))
                    wrong += [f"{scheme}, {width} pixels: {why}" for why in found]
                if "http" in " ".join(requests(driver)):
                    wrong.append(f"{scheme}: the page loads {requests(driver)}")
            finally:
                driver.quit()
    print("\n".join(wrong) or f"the page has its data at {WIDTHS} pixels, light and dark; screenshots are in {out}")
    sys.exit(1 if wrong else 0)


def requests(driver):
    """Returns the addresses that the page has loaded, besides itself and its own data."""
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    return [name for name in driver.execute_script(script) if not name.startswith("data:")]


if __name__ == "__main__":
    main()
