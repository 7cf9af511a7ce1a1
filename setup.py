"Everything `pip` needs to know, taken from settings.ini."
from configparser import ConfigParser
from pathlib import Path
from shutil import rmtree
from setuptools import find_packages, setup

here = Path(__file__).parent
config = ConfigParser(delimiters=['='])
config.read(here/'settings.ini', encoding='utf-8')
cfg = config['DEFAULT']
name = cfg['lib_name']
EXTRAS = 'clips', 'published', 'mobile', 'minisam', 'perceptual', 'parquet', 'demo'
extras = {extra: cfg[f'{extra}_requirements'].split() for extra in EXTRAS}
extras['dev'] = sum(extras.values(), []) + cfg['dev_requirements'].split()
statuses = ['1 - Planning', '2 - Pre-Alpha', '3 - Alpha', '4 - Beta', '5 - Production/Stable']
readme = here/'README.md'
rmtree(here/'build'/'lib', ignore_errors=True)  # or a wheel would pack modules that are gone by now

setup(
    name=name,
    version=cfg['version'],
    description=cfg['description'],
    long_description=readme.read_text(encoding='utf-8') if readme.is_file() else cfg['description'],
    long_description_content_type='text/markdown',
    keywords=cfg['keywords'].split(),
    author=cfg['author'],
    author_email=cfg['author_email'],
    license='Apache-2.0',
    license_files=['LICENSE'],
    url=cfg['git_url'],
    project_urls={'Source': cfg['git_url'], 'Paper': 'https://arxiv.org/abs/2305.06524'},
    classifiers=[
        f"Development Status :: {statuses[int(cfg['status'])-1]}",
        f"Intended Audience :: {cfg['audience']}",
        f"Natural Language :: {cfg['language']}",
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Image Processing',
    ],
    install_requires=cfg['requirements'].split(),
    extras_require=extras,
    # the folder assets/ lies outside seem_nbdev/, which nbdev_export may delete and write anew
    packages=[*find_packages(include=[name, f'{name}.*']), f'{name}.assets'],
    package_dir={f'{name}.assets': 'assets'},
    package_data={f'{name}.assets': ['**/*.csv', '**/*.toml', '**/*.safetensors']},
    include_package_data=False,
    zip_safe=False,
    entry_points={'nbdev': [f'{name}={name}._modidx:d'],
                  'console_scripts': cfg['console_scripts'].split()},
)
